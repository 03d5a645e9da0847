// Verifies a published key log in the browser, without trusting the server that sent it: the same
// rules as hsmd-chain, written a second time. WebCrypto does P-256, vendored @noble/hashes BLAKE3.

import { blake3 } from "./vendor/noble-hashes/blake3.js";

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

export const utf8 = new TextEncoder();

/** Why a log is refused: the number of the event (or null) and a sentence. */
export class Refused extends Error {
  constructor(number, reason) {
    super(reason);
    this.number = number;
  }
}

/**
 * Verifies the text of a published log against the identity that is expected. Returns its events, or
 * throws Refused. `progress` is told the number of events done.
 */
export async function verifyLog(text, identity, now, progress) {
  const entries = parse(text);
  if (!Array.isArray(entries) || entries.length === 0) throw new Refused(null, "it is not a log");
  compareText(text, entries);
  let head = null;
  const revealed = new Map();
  for (const [number, entry] of entries.entries()) {
    try {
      await verifyEvent(entry, number, head, revealed, identity, now);
    } catch (error) {
      if (error instanceof Refused) throw error;
      throw new Refused(number, error.message);
    }
    head = entry.payload;
    progress(number + 1, entries.length, head.id);
  }
  return entries.map(({ payload }) => payload);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(null, "it is not JSON");
  }
}

/** The canonical form has one text for each value, so rebuilding it finds whatever parsing hides. */
function compareText(text, entries) {
  let offset = 0;
  for (const [number, entry] of entries.entries()) {
    const rebuilt = `${number ? "," : "["}{"payload":${canonical(entry?.payload, number)},` +
      `"signature":${JSON.stringify(entry?.signature)}}`;
    if (!text.startsWith(rebuilt, offset)) {
      throw new Refused(number, "its text is not in canonical form");
    }
    offset += rebuilt.length;
  }
  if (text.slice(offset) !== "]") throw new Refused(null, "something follows the last event");
}

function canonical(event, number) {
  const q = JSON.stringify;
  const previous = number === 0 ? "" : `"previous":${q(event?.previous)},`;
  const taint = number > 0 && event?.taintPrevious === true ? '"taintPrevious":true,' : "";
  return `{"id":${q(event?.id)},"prefix":${q(event?.prefix)},` +
    `"sequenceNumber":${q(event?.sequenceNumber)},${previous}"createdAt":${q(event?.createdAt)},` +
    `${taint}"purpose":${q(event?.purpose)},"publicKey":${q(event?.publicKey)},` +
    `"rotationHash":${q(event?.rotationHash)}}`;
}

async function verifyEvent({ payload: event, signature }, number, head, revealed, identity, now) {
  const must = (condition, reason) => {
    if (!condition) throw new Error(reason);
  };
  must(event.sequenceNumber === number, "its number is out of order");
  must(number <= 99_999_999, "its number is too large");
  for (const name of ["id", "prefix", "rotationHash"]) decode(event[name], "E", 44, 1);

  const text = canonical(event, number);
  const unnamed = { ...event, id: "#".repeat(44) };
  if (number === 0) unnamed.prefix = unnamed.id;
  must(digest(canonical(unnamed, number)) === event.id, "its id is not the digest of its text");

  must(digest(event.publicKey) !== event.rotationHash, "it commits to its own key");

  must(event.prefix === identity, "it belongs to another identity");
  if (number === 0) {
    must(event.id === event.prefix, "its prefix is not its id");
  } else {
    must(event.previous === head.id, "it does not follow the event before it");
    must(digest(event.publicKey) === head.rotationHash, "its key was not committed to");
    const earlier = revealed.get(event.publicKey);
    must(earlier === undefined, `its key was revealed before, by event ${earlier}`);
  }
  revealed.set(event.publicKey, number);
  must(event.purpose === "key-authorization", "its purpose is another");

  must(isTimestamp(event.createdAt), "its time is no instant");
  // Texts of one length and form compare like the instants they name.
  must(head === null || event.createdAt > head.createdAt, "it is not later than the one before");
  must(Date.parse(event.createdAt) <= now + 5000, "it lies in the future");

  await verifySignature(text, signature, await importKey(event.publicKey));
}

/** Checks an ECDSA signature over a text; high and low s are both good. */
export async function verifySignature(text, signature, key) {
  const bytes = decode(signature, "0I", 88, 2);
  for (const half of [bytes.slice(0, 32), bytes.slice(32)]) {
    const scalar = integer(half);
    if (scalar <= 0n || scalar >= N) throw new Error("its signature is out of range");
  }
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  const good = await crypto.subtle.verify(algorithm, key, bytes, utf8.encode(text));
  if (!good) throw new Error("its signature does not verify");
}

export function isTimestamp(text) {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text) || text < "0001") return false;
  const date = new Date(text);
  return !Number.isNaN(date.getTime()) && date.toISOString() === text;
}

/** The bytes behind a fixed-length CESR text: `lead` zero bytes stand where the code is. */
export function decode(text, code, length, lead) {
  if (typeof text !== "string" || text.length !== length || !text.startsWith(code)) {
    throw new Error(`${code}… of ${length} characters expected`);
  }
  const base64 = "A".repeat(lead) + text.slice(code.length);
  if (!/^[A-Za-z0-9_-]*$/.test(base64)) throw new Error("not base64url");
  const binary = atob(base64.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  if (bytes.subarray(0, lead).some((byte) => byte !== 0)) throw new Error("lead bits are set");
  return bytes.slice(lead);
}

/** The digest of a text, as CESR. */
function digest(text) {
  const bytes = blake3(utf8.encode(text));
  const base64 = btoa(String.fromCharCode(0, ...bytes));
  return "E" + base64.slice(1).replaceAll("+", "-").replaceAll("/", "_");
}

/** WebCrypto takes no compressed points, so y is computed: p ≡ 3 (mod 4) makes the root one power. */
export async function importKey(text) {
  const point = decode(text.slice(4), "", 44, 0);
  if (!text.startsWith("1AAI") || (point[0] !== 2 && point[0] !== 3)) {
    throw new Error("its key is not a compressed P-256 point");
  }
  const x = integer(point.subarray(1));
  const square = (x ** 3n - 3n * x + B) % P;
  let y = power((square + P) % P, (P + 1n) / 4n);
  if (x >= P || (y * y - square) % P !== 0n) throw new Error("its key is not on the curve");
  if ((y & 1n) !== BigInt(point[0] & 1)) y = P - y;
  const raw = new Uint8Array(65);
  raw[0] = 4;
  raw.set(point.subarray(1), 1);
  raw.set(octets(y), 33);
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  return crypto.subtle.importKey("raw", raw, algorithm, false, ["verify"]);
}

function power(base, exponent) {
  let result = 1n;
  for (let bit = exponent; bit > 0n; bit >>= 1n) {
    if (bit & 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}

function integer(bytes) {
  return BigInt("0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""));
}

function octets(number) {
  const hex = number.toString(16).padStart(64, "0");
  return Uint8Array.from(hex.match(/../g), (pair) => Number.parseInt(pair, 16));
}
