// Text encodings (CESR), times and signatures: docs/formats.md, section 1.

import { blake3 } from "@noble/hashes/blake3.js";
import { Refused, must } from "./errors.js";
import { ORDER, compress, integerOf, uncompressed } from "./p256.js";

const ECDSA = { name: "ECDSA", hash: "SHA-256" };
const P256 = { name: "ECDSA", namedCurve: "P-256" };

/** How many imported public keys are remembered: to find y of a compressed point costs a millisecond. */
const REMEMBERED_KEYS = 256;

const utf8 = new TextEncoder();

/** The bytes of a text; `lead` zero bytes stand where the code's characters replaced the text's. */
function decode(text: unknown, what: string, code: string, lead: number, size: number): Uint8Array {
  must(typeof text === "string", `${what}: not a string`);
  must(text.startsWith(code), `${what}: wrong code`);
  const encoded = lead > 0 ? "A".repeat(code.length) + text.slice(code.length) : text.slice(code.length);
  must(encoded.length === ((lead + size) * 4) / 3, `${what}: wrong length`);
  must(/^[A-Za-z0-9_-]*$/.test(encoded), `${what}: not URL-safe base64`);
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  must(bytes.subarray(0, lead).every((byte) => byte === 0), `${what}: lead bits are not zero`);
  return bytes.slice(lead);
}

function encode(bytes: Uint8Array, code: string, lead: number): string {
  const binary = String.fromCharCode(...new Uint8Array(lead), ...bytes);
  const text = btoa(binary).replaceAll("+", "-").replaceAll("/", "_");
  return code + (lead > 0 ? text.slice(code.length) : text);
}

/** BLAKE3-256 over a text or bytes, as text: code `E`, 44 characters. */
export function digest(data: string | Uint8Array): string {
  return digestText(hash(typeof data === "string" ? utf8.encode(data) : data));
}

/** BLAKE3-256 over the parts, one after the other. */
export function hash(...parts: (string | Uint8Array)[]): Uint8Array {
  const hasher = blake3.create({});
  for (const part of parts) hasher.update(typeof part === "string" ? utf8.encode(part) : part);
  return hasher.digest();
}

/** A digest's 32 bytes as text. */
export function digestText(bytes: Uint8Array): string {
  return encode(bytes, "E", 1);
}

/** A digest's text as its 32 bytes. */
export function digestBytes(text: unknown): Uint8Array {
  return decode(text, "digest", "E", 1, 32);
}

/** A nonce's text as its 16 bytes. */
export function nonceBytes(text: unknown): Uint8Array {
  return decode(text, "nonce", "0A", 2, 16);
}

/** The uncompressed point of a P-256 public key: code `1AAI`, compressed, 48 characters. */
export function point(text: unknown): Uint8Array<ArrayBuffer> {
  return uncompressed(decode(text, "public key", "1AAI", 0, 33));
}

const imported = new Map<string, Promise<CryptoKey>>();

/** A public key for WebCrypto. */
export function publicKey(text: string): Promise<CryptoKey> {
  let key = imported.get(text);
  if (!key) {
    key = crypto.subtle.importKey("raw", point(text), P256, false, ["verify"]);
    imported.set(text, key);
    const oldest = imported.keys().next().value;
    if (imported.size > REMEMBERED_KEYS && oldest !== undefined) imported.delete(oldest);
  }
  return key;
}

/** The text of a P-256 public key. */
export async function publicKeyText(key: CryptoKey): Promise<string> {
  const raw = new Uint8Array(await crypto.subtle.exportKey("raw", key));
  return encode(compress(raw), "1AAI", 0);
}

/** Makes a P-256 key pair whose private key can't be exported. */
export function generateKey(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(P256, false, ["sign", "verify"]) as Promise<CryptoKeyPair>;
}

/** ECDSA over SHA-256 of the exact text; high and low s are both good. Throws `Refused`. */
export async function verify(key: string, message: string, signature: unknown): Promise<void> {
  const bytes = signatureBytes(signature);
  const imported = await publicKey(key);
  const good = await crypto.subtle.verify(ECDSA, imported, bytes, utf8.encode(message));
  if (!good) throw new Refused("signature: not made by this key over this text");
}

/** A signature's text as r and s, each 32 bytes. */
export function signatureBytes(signature: unknown): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(decode(signature, "signature", "0I", 2, 64));
  for (const half of [bytes.subarray(0, 32), bytes.subarray(32)]) {
    const scalar = integerOf(half);
    must(scalar > 0n && scalar < ORDER, "signature: r or s out of range");
  }
  return bytes;
}

/** A signature's text: code `0I`, 88 characters. */
export async function sign(key: CryptoKey, message: string): Promise<string> {
  return encode(new Uint8Array(await crypto.subtle.sign(ECDSA, key, utf8.encode(message))), "0I", 2);
}

/** A time like 2026-11-22T11:22:33.044Z as whole milliseconds since 1970. */
export function milliseconds(text: unknown): number {
  const form = typeof text === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text);
  must(form, "time: not of the form 2026-11-22T11:22:33.044Z");
  const date = new Date(text);
  const real = text >= "0001" && !Number.isNaN(date.getTime()) && date.toISOString() === text;
  must(real, `time: ${text} is not in the calendar`);
  return date.getTime();
}
