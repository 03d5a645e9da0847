// The verifier against the golden vectors, which every implementation of the formats shares.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import test from "node:test";
import { promisify } from "node:util";
import * as hsmd from "@hsmd/client";
import { entries, members } from "@hsmd/client/text";
import { GOLDEN, KEYS, signed } from "./mirror.mjs";

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

test("a hostile log takes little more memory than its text", async () => {
  const program = `
    import { readEvents } from "@hsmd/client";
    const many = 1_000_000;
    const texts = [
      "0,".repeat(many),
      "[" + "0,".repeat(many) + "0],",
      "[[" + "[],".repeat(many) + "0]],",
      '{"a":0},'.repeat(many),
      '{"x":0' + Array.from({ length: many / 4 }, (_, number) => ',"' + number + '":0').join("") + "},",
      '{"payload":[' + "0,".repeat(many) + '0],"signature":""},',
      "[".repeat(many),
      '"' + "\\\\n".repeat(many) + '",',
      ('{"payload":[' + "0,".repeat(60) + '0],"signature":""},').repeat(many / 100),
    ];
    for (const text of texts) {
      await readEvents("[" + text + "0]").then(() => "accepted", (error) => error.name).then(console.log);
    }`;
  const cwd = new URL(".", import.meta.url);
  const given = ["--max-old-space-size=40", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, given, { cwd });
  assert.equal(stdout, "Refused\n".repeat(9));
});

test("a log keeps nothing of the answer that it came in", async () => {
  const program = `
    const { KeyLog } = await import("@hsmd/client");
    const [log, identity, now] = ${JSON.stringify([LOG, IDENTITY, NOW])};
    const kept = [];
    for (let number = 0; number < 10; number += 1) {
      const text = Buffer.from(log.slice(0, -1) + " ".repeat(16 << 20) + "]").toString();
      kept.push(await KeyLog.parse(text, identity, now));
    }
    console.log(kept.length);`;
  const cwd = new URL(".", import.meta.url);
  const given = ["--max-old-space-size=100", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, given, { cwd });
  assert.equal(stdout, "10\n");
});

test("an entry is given before what follows it is read", () => {
  const [entry] = entries(LOG);
  const found = entries(`[${entry},x`);
  assert.equal(found.next().value, entry);
  assert.throws(() => found.next(), /a value expected/);
});

test("what is too short for an entry is the last that is read", () => {
  const [entry] = entries(LOG);
  assert.deepEqual([...entries(`[${entry},${entry},0,${entry},0]`)], [entry, entry, "0"]);
});

test("an entry has room for blanks, and an end", async () => {
  const at = LOG.indexOf(',"signature"');
  const apart = (blanks) => KeyLog.parse(LOG.slice(0, at) + " ".repeat(blanks) + LOG.slice(at), IDENTITY, NOW);
  await apart(3500);
  await refused(apart(4096), "an entry has more than 4096 characters");
});

test("the reasons why a log is none", async () => {
  const [entry] = entries(LOG);
  const reasons = {
    "": "not an array",
    "{}": "not an array",
    "[": "a value expected at 1",
    "[]x": "something follows",
    [`[${entry}`]: "] expected",
    [`[${entry},]`]: "a value expected",
    [`[${entry}]]`]: "something follows",
    [`[${entry} ${entry}]`]: "] expected",
    "[0]": "not an object",
    "[{}]": "members of an entry",
    '[{"payload":0}]': "members of an entry",
    '[{"payload":0,"payload":0}]': "duplicate name",
    '[{"payload":{"a":0,"a":0},"signature":""}]': "duplicate name",
    '[{"payload":0,"signature":0}]': "log: signature: not a plain string",
    "[NaN]": "a value expected",
    '["\\x"]': "a broken escape",
    [`[${entry},${entry.slice(0, -1)},0]`]: "a name expected",
    [`[${"[".repeat(200)}`]: "too many levels",
  };
  for (const [text, reason] of Object.entries(reasons)) await refused(KeyLog.parse(text, IDENTITY, NOW), reason);
});

/** Event 1 with these members' texts, named and signed anew. */
async function sealed(texts) {
  const blank = "#".repeat(44);
  const text = `{${[...texts].map(([name, value]) => `"${name}":${name === "id" ? `"${blank}"` : value}`)}}`;
  const named = text.replace(blank, hsmd.digest(text));
  return hsmd.Event.parse(named, await hsmd.sign(KEYS[1], named));
}

// A string is no number, a number no string, and neither is anything else.
const VALUES = ["0", "1", "null", "true", "[]", "{}", '["1"]'];

test("kinds of an event's members", async () => {
  const texts = members(GOLDEN[1].text);
  assert.equal((await sealed(texts)).sequenceNumber, 1);
  for (const [name, right] of texts) {
    for (const value of [...VALUES, '"1"']) {
      if (name !== "id" && value !== right) await refused(sealed(new Map(texts).set(name, value)));
    }
  }
});

test("kinds of what is signed", async () => {
  const head = GOLDEN[3];
  const verified = await log();
  const texts = { purpose: '"response"', publicKey: `"${head.publicKey}"`, expiration: '"2026-11-22T11:22:33.044Z"' };
  const verify = async (changed) => {
    const { purpose, publicKey, expiration } = { ...texts, ...changed };
    const payload = `{"purpose":${purpose},"publicKey":${publicKey},"expiration":${expiration}}`;
    return hsmd.verifySigned(await signed(payload, head), verified, NOW);
  };
  await verify({});
  for (const name of Object.keys(texts)) for (const value of VALUES) await refused(verify({ [name]: value }));
});

test("kinds of batches and heads", async () => {
  const leaf = '{"purpose":"document"}';
  const head = GOLDEN[3];
  const verified = await log();
  const batch = async (changed) => {
    const texts = { index: "0", size: "1", root: `"${hsmd.rootOf(leaf, 0, 1, [])}"`, ...changed };
    const body = await signed(`{"purpose":"batch","root":${texts.root},"size":${texts.size}}`, head);
    const text = `{"payload":${leaf},"proof":{"index":${texts.index},"path":[]},"batch":${body}}`;
    return hsmd.verifySigned(text, verified, NOW);
  };
  const statement = async (changed) => {
    const { number, at } = { number: "3", at: '"2025-11-04T00:00:00.000Z"', ...changed };
    const text = await signed(`{"purpose":"head","sequenceNumber":${number},"issuedAt":${at}}`, head);
    return hsmd.verifyHead(text, verified, NOW);
  };
  await Promise.all([batch({}), statement({})]);
  for (const value of ['"0"', '"1"', '"3"', "null", "true", "[]", "{}", "[1]"]) {
    for (const name of ["index", "size", "root"]) await refused(batch({ [name]: value }));
    for (const name of ["number", "at"]) await refused(statement({ [name]: value }));
  }
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
