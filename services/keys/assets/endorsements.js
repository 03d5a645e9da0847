// Verifies published endorsements in the browser against a log that keylog.js has verified: a body of
// its own, or a leaf of a batch (docs/formats.md, sections 3 and 4).

import { blake3 } from "./vendor/noble-hashes/blake3.js";
import { Refused, decode, importKey, isTimestamp, utf8, verifySignature } from "./keylog.js";

const MAX_BATCH = 16384;

/**
 * Verifies the text `{"<key>":<endorsement>,…}`, one endorsement after the other. Returns a list of
 * `{ key, refused }`, where `refused` says why, or is null. Times are in milliseconds.
 */
export async function verifyEndorsements(text, log, purpose, now, window) {
  const entries = Object.entries(parse(text));
  const rebuilt = entries.map(([key, value]) => `${JSON.stringify(key)}:${published(value)}`);
  if (text !== `{${rebuilt.join(",")}}`) throw refused("the text of one is not in canonical form");
  const batches = new Map();
  const verdicts = [];
  for (const [key, value] of entries) {
    try {
      await verifyEndorsement(value, log, batches, { key, purpose, now, window });
      verdicts.push({ key, refused: null });
    } catch (error) {
      verdicts.push({ key, refused: error.message });
    }
  }
  return verdicts;
}

function parse(text) {
  try {
    const value = JSON.parse(text);
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // Said below.
  }
  throw refused("they are no JSON object");
}

function refused(reason) {
  return Object.assign(new Refused(null, reason), { key: "The list of endorsements" });
}

/** The one text of an endorsement in either form. */
function published(value) {
  const q = JSON.stringify;
  if (value?.body) return `{"body":${body(value.body, endorsed)},"signature":${q(value.signature)}}`;
  const { index, path } = value?.proof ?? {};
  const batch = value?.batch;
  return `{"payload":${endorsed(value?.payload)},"proof":{"index":${q(index)},"path":${q(path)}},` +
    `"batch":{"body":${body(batch?.body, batched)},"signature":${q(batch?.signature)}}}`;
}

function body(value, payload) {
  const q = JSON.stringify;
  return `{"payload":${payload(value?.payload)},"hsm":{"identity":${q(value?.hsm?.identity)},` +
    `"generationId":${q(value?.hsm?.generationId)}}}`;
}

function endorsed(payload) {
  const q = JSON.stringify;
  return `{"purpose":${q(payload?.purpose)},"publicKey":${q(payload?.publicKey)},` +
    `"expiration":${q(payload?.expiration)}}`;
}

function batched(payload) {
  const q = JSON.stringify;
  return `{"purpose":${q(payload?.purpose)},"root":${q(payload?.root)},"size":${q(payload?.size)}}`;
}

/** `batches` remembers which batches' signatures verified, under body and signature together. */
async function verifyEndorsement(value, log, batches, expected) {
  let payload;
  if (value.body) {
    payload = value.body.payload;
    await verifyBody(body(value.body, endorsed), value.body.hsm, value.signature, log, expected);
  } else {
    payload = value.payload;
    const text = body(value.batch.body, batched);
    const { hsm } = value.batch.body;
    const name = text + value.batch.signature;
    must(isLive(log, hsm, expected), "its generation is not live");
    if (!batches.has(name)) {
      await verifyBody(text, hsm, value.batch.signature, log, expected);
      batches.set(name, true);
    }
    verifyLeaf(endorsed(payload), value.proof, value.batch.body.payload);
  }
  must(payload.purpose === expected.purpose, "it is for another purpose");
  must(payload.publicKey === expected.key, "it endorses another key");
  await importKey(payload.publicKey);
  must(isTimestamp(payload.expiration), "its expiration is no instant");
  must(Date.parse(payload.expiration) > expected.now, "it has expired");
}

async function verifyBody(text, hsm, signature, log, expected) {
  must(hsm.identity === log[0].prefix, "it belongs to another identity");
  must(isLive(log, hsm, expected), "its generation is not live");
  const event = log.find(({ id }) => id === hsm.generationId);
  await verifySignature(text, signature, await importKey(event.publicKey));
}

function isLive(log, hsm, { now, window }) {
  const number = log.findIndex(({ id }) => id === hsm.generationId);
  if (number < 0) return false;
  const successor = log[number + 1];
  if (!successor) return true;
  return !successor.taintPrevious && now <= Date.parse(successor.createdAt) + window;
}

/** The inclusion proof of RFC 9162, section 2.1.3.2. */
function verifyLeaf(text, { index, path }, { purpose, root, size }) {
  must(purpose === "batch", "the signed body is no batch");
  must(Number.isInteger(size) && size >= 1 && size <= MAX_BATCH, "the batch's size is out of range");
  must(Number.isInteger(index) && index >= 0 && index < size, "it lies outside the batch");
  must(Array.isArray(path), "its path is no list");
  const siblings = path.map((hash) => decode(hash, "E", 44, 1));
  let hash = blake3(Uint8Array.of(0, ...utf8.encode(text)));
  for (let node = index, last = size - 1; last > 0; node >>= 1, last >>= 1) {
    if (node % 2 === 0 && node === last) continue;
    const sibling = siblings.shift();
    must(sibling, "its path is too short");
    const [left, right] = node % 2 === 1 ? [sibling, hash] : [hash, sibling];
    hash = blake3(Uint8Array.of(1, ...left, ...right));
  }
  must(siblings.length === 0, "its path is too long");
  const expected = decode(root, "E", 44, 1);
  must(hash.every((byte, at) => byte === expected[at]), "its path leads to another root");
}

function must(condition, reason) {
  if (!condition) throw new Error(reason);
}
