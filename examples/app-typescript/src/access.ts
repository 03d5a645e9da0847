// What is checked before a request is served, in the order of docs/protocol.md, section 3.

import { gunzipSync, inflateRawSync } from "node:zlib";
import { HOUR, Refused, digestBytes, milliseconds, nonceBytes, point, signatureBytes, verify } from "@hsmd/client";
import { fromBytes, members, named, plain, readObject, readPayload, type Value } from "@hsmd/client/text";

/** How far back a generation of the HSM may have ended whose endorsed server key signed a token. */
export const LOOK_BACK = 12.25 * HOUR;
export const AGE = 30_000;
export const SKEW = 5_000;
const MAX_TOKEN = 16 << 10;
const MAX_JSON = 16 << 10;
const SIGNATURE_LENGTH = 88;
const [FHCRC, FEXTRA, FNAME, FCOMMENT] = [2, 4, 8, 16] as const;
const GZIP_TRAILER = 8;

const TOKEN = [
  "serverIdentity", "device", "identity", "publicKey", "rotationHash", "issuedAt", "expiry", "refreshExpiry",
  "attributes",
] as const;

/** What is answered instead of a reply: a status, and a code and a text of the protocol. */
export class Refusal extends Error {
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

const MALFORMED = new Refusal(400, "BA101", "the message is malformed");
const SIGNATURE = new Refusal(401, "BA101", "the signature does not verify");
const SERVER_KEY = new Refusal(401, "BA000", "the access token's server key is not endorsed");
const EXPIRED = new Refusal(422, "BA401", "the access token has expired");
const TOKEN_FROM_FUTURE = new Refusal(422, "BA403", "the access token is from the future");
const STALE = new Refusal(422, "BA501", "the request is stale");
const FROM_FUTURE = new Refusal(422, "BA502", "the request is from the future");
const REVOKED = new Refusal(403, "", "device revoked");
const UNAUTHORIZED = new Refusal(401, "", "unauthorized");
export const UNAVAILABLE = new Refusal(503, "BA000", "the service is not available");

/** An access token as it came: a signature, then the compressed JSON that it covers. */
interface Token {
  text: string;
  signature: string;
  server: string;
  device: string;
  publicKey: string;
  issuedAt: number;
  expiry: number;
  attributes: Value;
}

/** A message as it came: nothing in it is verified. */
export interface Message {
  payload: string;
  signature: string;
  nonce: string;
  timestamp: number;
  request: string;
  token: Token;
}

/** Whom and what the checks ask. */
export interface Outside {
  isEndorsed(key: string): Promise<boolean>;
  useNonce(nonce: string, timestamp: number): Promise<boolean>;
  isRevoked(device: string): Promise<boolean>;
}

/** A message that passed every check, or `Refusal`. */
export async function verifyAccess(body: Uint8Array, now: number, outside: Outside): Promise<Message> {
  const message = wellFormed(() => parseMessage(fromBytes(body)));
  const { token } = message;
  refuseUnless(await outside.isEndorsed(token.server), SERVER_KEY);
  await verifySignature(token.server, token.text, token.signature);
  refuseUnless(token.issuedAt <= now + SKEW, TOKEN_FROM_FUTURE);
  refuseUnless(now <= token.expiry, EXPIRED);
  await verifySignature(token.publicKey, message.payload, message.signature);
  refuseUnless(now <= message.timestamp + AGE, STALE);
  refuseUnless(message.timestamp <= now + SKEW, FROM_FUTURE);
  refuseUnless(await outside.useNonce(message.nonce, message.timestamp), STALE);
  refuseUnless(!(await outside.isRevoked(token.device)), REVOKED);
  refuseUnless(permits(token.attributes, "user", "read"), UNAUTHORIZED);
  return message;
}

/** The members of the request, which may come in either order. */
export function fooBar(request: string): { foo: string; bar: string } {
  return wellFormed(() => {
    const values = readObject(request);
    const { foo, bar } = values as { foo?: Value; bar?: Value };
    must(Object.keys(values).length === 2 && typeof foo === "string" && typeof bar === "string", "members of the request");
    return { foo: foo as string, bar: bar as string };
  });
}

function parseMessage(text: string): Message {
  const envelope = members(text);
  must(envelope.size === 2 && envelope.has("payload"), "members of the message");
  const payload = envelope.get("payload") as string;
  const signature = plain(envelope.get("signature"), "signature");
  signatureBytes(signature);
  readPayload(payload);
  const parts = members(payload);
  must(parts.size === 2 && parts.has("request") && parts.has("access"), "members of the payload");
  const access = members(parts.get("access") as string);
  must(named(access.keys(), ["nonce", "timestamp", "token"]), "members of access");
  const [nonce, timestamp, token] = [...access].map(([name, value]) => plain(value, name)) as [string, string, string];
  nonceBytes(nonce);
  const request = parts.get("request") as string;
  return { payload, signature, nonce, timestamp: time(timestamp), request, token: parseToken(token) };
}

function parseToken(token: string): Token {
  must(token.length >= SIGNATURE_LENGTH && token.length <= MAX_TOKEN, "token: length");
  const signature = token.slice(0, SIGNATURE_LENGTH);
  signatureBytes(signature);
  const text = fromBytes(unpack(token.slice(SIGNATURE_LENGTH)));
  const attributes = readPayload(text)["attributes"] as Value;
  const exact = members(text);
  must(named(exact.keys(), TOKEN), "token: members");
  const of = (name: (typeof TOKEN)[number]) => plain(exact.get(name), name);
  for (const name of ["serverIdentity", "publicKey"] as const) point(of(name));
  for (const name of ["device", "identity", "rotationHash"] as const) digestBytes(of(name));
  time(of("refreshExpiry"));
  return {
    text, signature, attributes, server: of("serverIdentity"), device: of("device"), publicKey: of("publicKey"),
    issuedAt: time(of("issuedAt")), expiry: time(of("expiry")),
  };
}

/** Base64url of one gzip member, of a bounded size. */
function unpack(packed: string): Uint8Array {
  const data = Buffer.from(packed, "base64url");
  must(data.toString("base64url") === packed, "token: not base64url");
  try {
    const text = gunzipSync(data, { maxOutputLength: MAX_JSON });
    must(memberLength(data) === data.length, "token: followed by something");
    return text;
  } catch (error) {
    throw new Refused(`token: not gzip: ${(error as Error).message}`);
  }
}

/** The length of the first member (RFC 1952) of good gzip data. `gunzipSync` joins all members. */
function memberLength(data: Buffer): number {
  const flags = data.readUInt8(3);
  let at = 10;
  if (flags & FEXTRA) at += 2 + data.readUInt16LE(at);
  for (const flag of [FNAME, FCOMMENT]) if (flags & flag) at = data.indexOf(0, at) + 1;
  if (flags & FHCRC) at += 2;
  const deflated = inflateRawSync(data.subarray(at), { info: true, maxOutputLength: MAX_JSON }) as unknown as {
    engine: { bytesWritten: number };
  };
  return at + deflated.engine.bytesWritten + GZIP_TRAILER;
}

/** Published clients write up to nine fraction digits; what is finer than a millisecond is cut off. */
function time(text: string): number {
  return milliseconds(text.replace(/^(.{23})[0-9]{0,6}Z$/s, "$1Z"));
}

/** Attributes of another shape permit nothing. */
function permits(attributes: Value, role: string, permission: string): boolean {
  const granted = member(member(attributes, "permissionsByRole"), role);
  return Array.isArray(granted) && granted.includes(permission);
}

function member(value: Value | undefined, name: string): Value | undefined {
  const object = typeof value === "object" && value !== null && !Array.isArray(value);
  return object ? (value as { [name: string]: Value })[name] : undefined;
}

async function verifySignature(key: string, text: string, signature: string): Promise<void> {
  try {
    await verify(key, text, signature);
  } catch (error) {
    throw error instanceof Refused ? SIGNATURE : error;
  }
}

function wellFormed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof Refused ? MALFORMED : error;
  }
}

function must(condition: boolean, rule: string): void {
  if (!condition) throw new Refused(rule);
}

function refuseUnless(condition: boolean, refusal: Refusal): void {
  if (!condition) throw refusal;
}
