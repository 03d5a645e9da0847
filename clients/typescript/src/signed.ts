// Signed bodies, endorsements, batches and head statements. docs/formats.md, sections 3 to 5.

import { digestBytes, digestText, hash, milliseconds, point, verify } from "./encoding.js";
import { OtherHead, must } from "./errors.js";
import { PURPOSE, type Event } from "./event.js";
import { HOUR, SKEW, type KeyLog } from "./keylog.js";
import { Numeral, elements, integer, members, named, plain, readObject, readPayload, type Value } from "./text.js";

const RESERVED: readonly Value[] = ["batch", "head", "health", PURPOSE];
const MAX_BATCH = 16384;

type Values = { [name: string]: Value };

/** A payload that the HSM has signed, and the generation that did. */
export class Verified {
  constructor(readonly payload: string, readonly values: Values, readonly event: Event) {}
}

/**
 * Remembers that a batch body's signature verifies under its key: each further item costs hashes. Liveness,
 * window and expiry are judged at each use. Bounded: the oldest goes first.
 */
export class BatchMemory {
  readonly #known = new Set<string>();

  constructor(readonly size = 256) {}

  async verify(key: string, body: string, signature: string): Promise<void> {
    const entry = `${key}${signature}${body}`;
    if (!this.#known.delete(entry)) await verify(key, body, signature);
    this.#known.add(entry);
    const oldest = this.#known.values().next().value;
    if (this.#known.size > this.size && oldest !== undefined) this.#known.delete(oldest);
  }
}

export interface Reading {
  /** How long a generation's signatures count after an ordinary rotation, in milliseconds: 12 h if absent. */
  window?: number;
  /** Shared by the items of batches. */
  memory?: BatchMemory;
}

/**
 * A signed payload in either form, plain or batched. A payload with a `publicKey` or an `expiration` is an
 * endorsement and must be a good one.
 */
export async function verifySigned(
  text: string, log: KeyLog, now: number, expected: Reading & { purpose?: string } = {},
): Promise<Verified> {
  const verified = await signed(text, log, now, expected);
  const { values } = verified;
  must(expected.purpose === undefined || values["purpose"] === expected.purpose, "body: another purpose");
  if ("publicKey" in values || "expiration" in values) checkEndorsement(verified, now);
  return verified;
}

/** An endorsement of the key that was looked for, for the purpose that was looked for. */
export async function verifyEndorsement(
  text: string, log: KeyLog, now: number, expected: Reading & { purpose: string; key: string },
): Promise<Verified> {
  const verified = await signed(text, log, now, expected);
  must(verified.values["purpose"] === expected.purpose, "body: another purpose");
  checkEndorsement(verified, now);
  must(verified.values["publicKey"] === expected.key, "endorsement: of another key");
  return verified;
}

function checkEndorsement({ values, payload }: Verified, now: number): void {
  must(named(Object.keys(values), ["purpose", "publicKey", "expiration"]), "endorsement: members");
  const { purpose, publicKey, expiration } = values;
  must(typeof purpose === "string" && /^[!-~]{1,64}$/.test(purpose), "endorsement: purpose");
  must(typeof publicKey === "string" && typeof expiration === "string", "endorsement: members");
  const rebuilt = `{"purpose":"${purpose}","publicKey":"${publicKey}","expiration":"${expiration}"}`;
  must(rebuilt === payload, "endorsement: not in canonical form");
  point(publicKey);
  must(milliseconds(expiration) > now, "endorsement: expired");
}

async function signed(text: string, log: KeyLog, now: number, reading: Reading): Promise<Verified> {
  const { window = 12 * HOUR, memory = new BatchMemory() } = reading;
  const parts = members(text);
  if (["payload", "proof", "batch"].some((name) => parts.has(name))) {
    return batched(text, parts, log, now, window, memory);
  }
  const { body, signature } = plainParts(parts);
  const { payload, event } = readBody(body, log, now, window);
  const values = readPayload(payload);
  await verify(event.publicKey, body, signature);
  return new Verified(payload, values, event);
}

function plainParts(parts: Map<string, string>): { body: string; signature: string } {
  must(parts.size === 2 && parts.has("body") && parts.has("signature"), "signed: members");
  return { body: parts.get("body") as string, signature: plain(parts.get("signature"), "signed: signature") };
}

/** A body's payload and its generation's event; the signature is the caller's to verify. */
function readBody(body: string, log: KeyLog, now: number, window: number): { payload: string; event: Event } {
  const inner = members(body);
  must(named(inner.keys(), ["payload", "hsm"]), "body: members");
  const hsm = readObject(inner.get("hsm") as string);
  must(named(Object.keys(hsm), ["identity", "generationId"]), "body: members of hsm");
  const { identity, generationId } = hsm;
  digestBytes(identity);
  digestBytes(generationId);
  const payload = inner.get("payload") as string;
  const rebuilt = `{"payload":${payload},"hsm":{"identity":"${identity}","generationId":"${generationId}"}}`;
  must(body === rebuilt, "body: not in canonical form");
  must(identity === log.identity, "body: another identity");
  return { payload, event: log.live(generationId as string, now, window) };
}

async function batched(
  text: string, parts: Map<string, string>, log: KeyLog, now: number, window: number, memory: BatchMemory,
): Promise<Verified> {
  must(named(parts.keys(), ["payload", "proof", "batch"]), "batched: members");
  const [leaf, proofText, batchText] = [...parts.values()] as [string, string, string];
  const proof = members(proofText);
  const batch = members(batchText);
  must(named(proof.keys(), ["index", "path"]), "batched: members of proof");
  must(named(batch.keys(), ["body", "signature"]), "batched: members of batch");
  const path = elements(proof.get("path") as string).map((element) => plain(element, "batched: path"));
  const { body, signature } = plainParts(batch);
  const quoted = path.map((element) => `"${element}"`).join(",");
  const rebuilt = `{"payload":${leaf},"proof":{"index":${proof.get("index")},"path":[${quoted}]},` +
    `"batch":{"body":${body},"signature":"${signature}"}}`;
  must(text === rebuilt, "batched: not in canonical form");
  const index = integer(new Numeral(proof.get("index") as string), "batched: index");
  const values = readPayload(leaf);

  const { payload, event } = readBody(body, log, now, window);
  await memory.verify(event.publicKey, body, signature);
  const { root, size } = readBatch(payload);
  must(rootOf(leaf, index, size, path) === root, "proof: the path leads to another root");
  must(!RESERVED.includes(values["purpose"] ?? null), "batched: the leaf's purpose is reserved");
  return new Verified(leaf, values, event);
}

function readBatch(payload: string): { root: string; size: number } {
  const fields = readObject(payload);
  must(fields["purpose"] === "batch", "batch: the signed body is no batch");
  must(named(Object.keys(fields), ["purpose", "root", "size"]), "batch: members");
  const { root } = fields;
  must(typeof root === "string", "batch: root");
  const size = integer(fields["size"], "batch: size");
  must(payload === `{"purpose":"batch","root":"${root}","size":${size}}`, "batch: not in canonical form");
  must(size >= 1 && size <= MAX_BATCH, "batch: size out of range");
  return { root, size };
}

/** The root that an inclusion path of RFC 9162 leads to, with BLAKE3-256. */
export function rootOf(payload: string, index: number, size: number, path: readonly string[]): string {
  must(index >= 0 && index < size, "proof: index outside the tree");
  const siblings = path.map(digestBytes);
  const [leaf, node] = [Uint8Array.of(0), Uint8Array.of(1)];
  let found = hash(leaf, payload);
  let used = 0;
  for (let at = index, last = size - 1; last > 0; at >>= 1, last >>= 1) {
    if (at % 2 === 0 && at === last) continue;
    const sibling = siblings[used++];
    must(sibling, "proof: the path is too short");
    found = at % 2 === 1 ? hash(node, sibling, found) : hash(node, found, sibling);
  }
  must(used === siblings.length, "proof: the path is too long");
  return digestText(found);
}

/** A head statement that shows the log to be fresh; returns when it was issued, in milliseconds. */
export async function verifyHead(
  text: string, log: KeyLog, now: number, { maxStaleness = 60_000, skew = SKEW } = {},
): Promise<number> {
  const { body, signature } = plainParts(members(text));
  const hsm = members(body).get("hsm");
  const generation = hsm === undefined ? undefined : readObject(hsm)["generationId"];
  if (generation !== log.head.id) throw new OtherHead("head: its generation is not the log's head");
  const { payload, event } = readBody(body, log, now, 0);
  const fields = readPayload(payload);
  await verify(event.publicKey, body, signature);
  must(fields["purpose"] === "head", "head: the signed body is no head statement");
  must(named(Object.keys(fields), ["purpose", "sequenceNumber", "issuedAt"]), "head: members");
  const number = fields["sequenceNumber"];
  const issuedAt = milliseconds(fields["issuedAt"]);
  const written = number instanceof Numeral ? number.text : "";
  const rebuilt = `{"purpose":"head","sequenceNumber":${written},"issuedAt":"${fields["issuedAt"]}"}`;
  must(payload === rebuilt, "head: not in canonical form");
  must(integer(number, "head: sequenceNumber") === event.sequenceNumber, "head: names another event");
  must(issuedAt <= now + skew, "head: from the future");
  must(now <= issuedAt + maxStaleness, "head: stale");
  return issuedAt;
}
