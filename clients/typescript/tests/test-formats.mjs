// The verifier against the golden vectors, which every implementation of the formats shares.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import * as hsmd from "@hsmd/client";

const { HOUR, KeyLog, Refused } = hsmd;
const cases = process.env.HSMD_VECTORS ?? new URL("../../../chain/tests", import.meta.url).pathname;
const read = (name) => JSON.parse(readFileSync(`${cases}/${name}`, "utf8"));
const VECTORS = read("vectors.json");
const BATCHES = read("batches.json");
const REVEALED = read("revealed_keys.json");
const { hsmIdentity: IDENTITY, hsmKeysReply: LOG } = VECTORS;
const NOW = hsmd.milliseconds("2025-11-04T00:00:00.001Z");
const BATCH_NOW = hsmd.milliseconds("2025-11-03T23:00:01.000Z");

const log = (now = NOW, anchor = IDENTITY) => KeyLog.parse(LOG, anchor, now);
const refused = (promise, text = "") =>
  assert.rejects(promise, (error) => error instanceof Refused && error.message.includes(text));

test("the golden log", async () => {
  const { events } = await log();
  assert.deepEqual(events.map(({ id }) => id), VECTORS.events.map(({ id }) => id));
  assert.ok(events[3].taintPrevious);
});

test("every changed byte is refused", async () => {
  for (let at = 0; at < LOG.length; at += 7) {
    const other = LOG[at] === "x" ? "y" : "x";
    await refused(KeyLog.parse(LOG.slice(0, at) + other + LOG.slice(at + 1), IDENTITY, NOW));
  }
});

test("keys that come a second time", async () => {
  for (const { accept, identity, log, revealedBy } of REVEALED.cases) {
    const parsed = KeyLog.parse(log, identity, NOW * 2);
    const reason = revealedBy === undefined ? "its own key" : `revealed before, by event ${revealedBy}`;
    await (accept ? parsed : refused(parsed, reason));
  }
});

test("other identities, futures and nothing", async () => {
  await refused(log(NOW, VECTORS.events[1].id), "another identity");
  await refused(log(hsmd.milliseconds("2025-11-03T12:00:00.000Z")), "future");
  await refused(KeyLog.parse("[]", IDENTITY, NOW), "empty");
});

test("an event twice in one array is malformed", async () => {
  const { payload, signature } = VECTORS.events[0];
  const entry = `{"payload":${payload},"signature":"${signature}"}`;
  await KeyLog.parse(`[${entry}]`, IDENTITY, NOW);
  await refused(KeyLog.parse(`[${entry},${entry}]`, IDENTITY, NOW), "order of sequence numbers");
});

test("a known head is never given up", async () => {
  const { events } = VECTORS;
  const anchor = `${IDENTITY}@3:${events[3].id}`;
  await log(NOW, anchor);
  const texts = events.map(({ payload, signature }) => `{"payload":${payload},"signature":"${signature}"}`);
  await assert.rejects(KeyLog.parse(`[${texts.slice(0, 3)}]`, anchor, NOW), hsmd.Rollback);
  await assert.rejects(log(NOW, `${IDENTITY}@2:${events[3].id}`), hsmd.Fork);
  for (const wrong of [`${IDENTITY}@0:${events[3].id}`, `${IDENTITY}@03:${events[3].id}`, `${IDENTITY}@3`, "E", ""]) {
    await refused(log(NOW, wrong));
  }
});

test("an event from the future taints at once and is not taken", async () => {
  const before = hsmd.milliseconds("2025-11-03T13:00:00.000Z");
  const events = await hsmd.readEvents(LOG);
  const followed = new KeyLog(IDENTITY);
  for (const event of events.slice(0, 3)) assert.ok(followed.extend(event, before));
  assert.ok(!followed.extend(events[1], before));
  followed.live(events[2].id, before, HOUR);
  assert.throws(() => followed.extend(events[3], before), hsmd.FutureEvent);
  assert.equal(followed.head.id, events[2].id);
  assert.throws(() => followed.live(events[2].id, before, HOUR), /tainted/);
});

test("windows", async () => {
  const verified = await log();
  const { events } = verified;
  const edge = events[1].createdAt + HOUR;
  assert.equal(verified.live(events[0].id, edge, HOUR).id, events[0].id);
  assert.throws(() => verified.live(events[0].id, edge + 1, HOUR), /window/);
});

test("golden endorsements", async () => {
  let accepted = 0;
  for (const { name, redisValue, servicePublicKey, signedBySequence } of VECTORS.endorsements) {
    const { purpose } = JSON.parse(redisValue).body.payload;
    const expected = { purpose, key: servicePublicKey, window: 24 * HOUR };
    const verify = async (changed = {}) =>
      hsmd.verifyEndorsement(redisValue, await log(), NOW, { ...expected, ...changed });
    if (name.includes("reject (") || name.includes("reject after")) {
      await refused(verify());
      continue;
    }
    accepted += 1;
    assert.equal((await verify()).event.sequenceNumber, signedBySequence);
    await refused(verify({ purpose: "other" }), "purpose");
    await refused(verify({ key: VECTORS.nextKey.publicKey }), "another key");
  }
  assert.ok(accepted >= 2);
});

test("golden batches", async () => {
  const memory = new hsmd.BatchMemory();
  const verified = await log(BATCH_NOW);
  let count = 0;
  for (const item of BATCHES.batches.flatMap(({ items }) => items)) {
    await hsmd.verifySigned(item, verified, BATCH_NOW, { memory });
    count += 1;
  }
  assert.ok(count > 20);
});

test("refused batches", async (t) => {
  const memory = new hsmd.BatchMemory();
  const verified = await log(BATCH_NOW);
  for (const { name, text } of BATCHES.refused) {
    await t.test(name, () => refused(hsmd.verifySigned(text, verified, BATCH_NOW, { memory })));
  }
});

test("golden heads", async (t) => {
  const verified = await log(BATCH_NOW);
  for (const { accept, name, text } of BATCHES.heads) {
    await t.test(name, async () => {
      if (!accept) return refused(hsmd.verifyHead(text, verified, BATCH_NOW));
      await hsmd.verifyHead(text, verified, BATCH_NOW);
      for (const late of [61_000, -70_000]) await refused(hsmd.verifyHead(text, verified, BATCH_NOW + late));
    });
  }
});

test("a path of the wrong length or index leads nowhere", () => {
  const batch = BATCHES.batches.reduce((a, b) => (b.size > a.size ? b : a));
  const { payload, proof: { index, path } } = JSON.parse(batch.items[1]);
  const text = JSON.stringify(payload);
  assert.equal(hsmd.rootOf(text, index, batch.size, path), batch.root);
  for (const [at, siblings] of [[index, path.slice(1)], [index, [...path, path[0]]], [batch.size, path], [index ^ 1, path]]) {
    let root = null;
    try {
      root = hsmd.rootOf(text, at, batch.size, siblings);
    } catch (error) {
      assert.ok(error instanceof Refused);
    }
    assert.notEqual(root, batch.root);
  }
});

test("own signatures verify", async () => {
  const { privateKey, publicKey } = await hsmd.generateKey();
  const key = await hsmd.publicKeyText(publicKey);
  const signature = await hsmd.sign(privateKey, "a message");
  await hsmd.verify(key, "a message", signature);
  for (const wrong of ["another", "a message "]) await refused(hsmd.verify(key, wrong, signature), "not made by");
});
