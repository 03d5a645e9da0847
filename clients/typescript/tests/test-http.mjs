// A log from an untrusted HTTP source is fresh only by a head statement, from the time at which that was made.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import test from "node:test";
import { promisify } from "node:util";
import * as hsmd from "@hsmd/client";
import { connectHttp } from "@hsmd/client/node";
import { GOLDEN, IDENTITY, Mirror, statement, taint } from "./mirror.mjs";

const SECOND = 1000;
const MINUTE = 60 * SECOND;

function follow(t, mirror, options = {}) {
  return followSource(t, new hsmd.HttpSource(mirror.url, { interval: 20 }), options);
}

function followSource(t, source, options = {}) {
  const log = new hsmd.FollowedLog(source, IDENTITY, options).start();
  t.after(() => log.close());
  return log;
}

/** It is, and in the end for this reason: another reader may have asked before it. */
async function assertStale(mirror, log, reason) {
  let said = "";
  for (let asked = 0; asked < 300 && !said.includes(reason); asked += 1) {
    await mirror.asked();
    assert.throws(() => log.fresh(), (error) => {
      said = error.message;
      return error instanceof hsmd.Stale;
    });
  }
  assert.ok(said.includes(reason), said);
}

test("a statement makes the log fresh, and nothing else does", async (t) => {
  const mirror = await Mirror.start(t);
  const statements = mirror.head;
  mirror.head = () => null;
  const problems = [];
  const log = follow(t, mirror, { onProblem: (problem) => problems.push(problem) });
  await assertStale(mirror, log, "/hsm/head answered 503");
  for (let more = 0; more < 3; more += 1) await mirror.asked();
  // Said once, not at each look.
  assert.ok(problems.length > 0 && problems.every(({ message }, at) => message !== problems[at - 1]?.message));
  mirror.head = statements;
  assert.ok(await log.wait(({ head }) => head.id === GOLDEN[3].id, 30 * SECOND));
});

test("the own gateway is trusted over a Unix socket, or where that is said", async (t) => {
  const folder = mkdtempSync(`${tmpdir()}/hsmd-ts.`);
  t.after(() => rmSync(folder, { recursive: true }));
  const [gateway, mirror] = [await Mirror.start(t, `${folder}/gateway.sock`), await Mirror.start(t)];
  const said = new hsmd.HttpSource(mirror.url, { trusted: true });
  for (const source of [connectHttp(gateway.url), said]) {
    const log = followSource(t, source);
    assert.ok(await log.wait(({ head }) => head.id === GOLDEN[3].id, 30 * SECOND));
  }
  assert.deepEqual([gateway.count, mirror.count], [0, 0]);
});

test("a gateway that is not trusted is believed by its statement", async (t) => {
  const mirror = await Mirror.start(t);
  const read = () => followSource(t, new hsmd.HttpSource(mirror.url, { interval: 20 }));
  assert.ok(await read().wait(({ head }) => head.id === GOLDEN[3].id, 30 * SECOND));
  const frozen = await statement(GOLDEN[3], Date.now() - 2 * MINUTE);
  mirror.head = () => frozen;
  await assertStale(mirror, read(), "head: stale");
});

test("a redirection is not followed", async (t) => {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    response.writeHead(302, { location: "/elsewhere" }).end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const source = new hsmd.HttpSource(`http://127.0.0.1:${server.address().port}`);
  await assert.rejects(source.watch(0, new AbortController().signal).next(), hsmd.Unavailable);
  await assert.rejects(source.endorse("response", "1AAI", MINUTE), hsmd.Unavailable);
  assert.deepEqual(asked, ["/hsm/keys", "/sign"]);
});

test("an answer over a Unix socket is not read beyond its limit", async (t) => {
  const folder = mkdtempSync(`${tmpdir()}/hsmd-ts.`);
  t.after(() => rmSync(folder, { recursive: true }));
  let closed = false;
  const server = createServer((_, response) => {
    const more = () => response.write(" ".repeat(1024), () => closed || setImmediate(more));
    response.on("close", () => (closed = true));
    more();
  });
  await new Promise((resolve) => server.listen(`${folder}/gateway.sock`, resolve));
  t.after(() => server.close());
  const gateway = connectHttp(`unix://${folder}/gateway.sock`, { timeout: 30 * SECOND });
  await assert.rejects(gateway.endorse("response", "1AAI", hsmd.HOUR), /longer than 65536 bytes/);
  await until(() => closed);
});

test("an answer in pieces of a byte takes little more memory than its text", async () => {
  const program = `
    import { HttpSource } from "@hsmd/client";
    let left = 1_000_000;
    const pull = (body) => (left-- > 0 ? body.enqueue(Uint8Array.of(32)) : body.close());
    const source = new HttpSource("http://mirror", { fetch: async () => new Response(new ReadableStream({ pull })) });
    await source.watch(0, new AbortController().signal).next().catch((error) => console.log(error.message));`;
  const cwd = new URL(".", import.meta.url);
  const given = ["--max-old-space-size=30", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, given, { cwd });
  assert.equal(stdout, "JSON: not an array\n");
});

test("a source may be asked as seldom as one likes", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const problems = [];
  let asked = 0;
  const log = `[${GOLDEN.map(({ text, signature }) => `{"payload":${text},"signature":"${signature}"}`)}]`;
  const fetch = async () => new Response(log, { headers: { etag: `"${asked += 1}"` } });
  const source = new hsmd.HttpSource("http://mirror", { interval: MINUTE, trusted: true, fetch });
  const options = { maxStaleness: 10 * MINUTE, onProblem: (problem) => problems.push(problem.message) };
  const followed = followSource(t, source, options);
  await until(() => followed.age() !== null);
  for (let seconds = 0; seconds < 59; seconds += 1) t.mock.timers.tick(SECOND);
  await until(() => true);
  assert.deepEqual([asked, problems], [1, []]);
  t.mock.timers.tick(SECOND);
  await until(() => asked === 2);
  assert.deepEqual(problems, []);
});

test("a feed that falls silent is dead", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const problems = [];
  const watch = async function* (_, signal) {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  };
  followSource(t, { watch }, { onProblem: (problem) => problems.push(problem.message) });
  t.mock.timers.tick(12 * SECOND - 1);
  await until(() => true);
  assert.deepEqual(problems, []);
  t.mock.timers.tick(1);
  await until(() => problems.length > 0);
  assert.deepEqual(problems, ["nothing was heard for 12 s"]);
});

/** Waits for a condition without timers, and lets what is due go on. */
async function until(met) {
  do {
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  } while (!met());
}

test("a frozen mirror is stale, whatever it repeats", async (t) => {
  const mirror = await Mirror.start(t);
  const log = follow(t, mirror, { maxStaleness: 2 * SECOND });
  assert.ok(await log.wait(() => true, 30 * SECOND));
  const frozen = await statement(GOLDEN[3]);
  mirror.head = () => frozen;
  for (let [stale, asked] = [false, 0]; !stale && asked < 3000; asked += 1) {
    await mirror.asked();
    try {
      log.fresh();
    } catch (error) {
      stale = error instanceof hsmd.Stale;
    }
  }
  await assertStale(mirror, log, "head: stale");
  // It was no fault of the log's.
  mirror.head = () => statement(GOLDEN[3]);
  assert.ok(await log.wait(() => true, 30 * SECOND));
});

test("refused statements", async (t) => {
  const mirror = await Mirror.start(t);
  const [one, other] = [await statement(GOLDEN[3]), await statement(GOLDEN[3])];
  const cases = {
    "head: stale": await statement(GOLDEN[3], Date.now() - 2 * MINUTE),
    "head: from the future": await statement(GOLDEN[3], Date.now() + 60 * MINUTE),
    "not the log's head": await statement(GOLDEN[1]),
    signature: one.slice(0, -30) + other.slice(-30),
    JSON: "<html>",
    "longer than": " ".repeat(70_000),
  };
  mirror.head = () => null;
  const log = follow(t, mirror);
  for (const [reason, text] of Object.entries(cases)) {
    mirror.head = () => text;
    await assertStale(mirror, log, reason);
  }
});

test("an early statement counts from when it was made", async (t) => {
  const mirror = await Mirror.start(t);
  const early = await statement(GOLDEN[3], Date.now() - MINUTE / 2);
  mirror.head = () => early;
  const log = follow(t, mirror);
  assert.ok(await log.wait(() => true, 30 * SECOND));
  assert.ok(log.age() >= 29 * SECOND);
  await assertStale(mirror, follow(t, mirror, { maxStaleness: 20 * SECOND }), "head: stale");
});

test("who holds the active key can hide what follows, and no longer", async (t) => {
  const mirror = await Mirror.start(t);
  mirror.events = GOLDEN.slice(0, 3);
  const log = follow(t, mirror);
  assert.ok(await log.wait(({ head }) => head.id === GOLDEN[2].id, 30 * SECOND));
  // The same key's statements prove nothing once event 3 is known, which taints it.
  mirror.head = () => statement(GOLDEN[2]);
  mirror.events = [...GOLDEN];
  assert.ok(await log.wait(({ head }) => head.id === GOLDEN[3].id, 30 * SECOND));
  assert.throws(() => log.fresh().live(GOLDEN[2].id, Date.now(), hsmd.HOUR), /tainted/);
  await assertStale(mirror, follow(t, mirror), "not the log's head");
});

test("a shorter log is a rollback", async (t) => {
  const mirror = await Mirror.start(t);
  const problems = [];
  const log = follow(t, mirror, { onProblem: (problem) => problems.push(problem) });
  assert.ok(await log.wait(() => true, 30 * SECOND));
  mirror.events = GOLDEN.slice(0, 2);
  while (!problems.some((problem) => problem instanceof hsmd.Rollback)) await log.changed(MINUTE);
});

test("an endorsement over HTTP lives as long as its generation", async (t) => {
  const mirror = await Mirror.start(t);
  const log = follow(t, mirror);
  const attempts = [];
  const publish = (endorsement) => {
    attempts.push(endorsement);
    if (attempts.length === 1) throw new Error("the first attempt fails");
  };
  const source = new hsmd.HttpSource(mirror.url);
  const endorser = await hsmd.Endorser.start(source, log, { purpose: "response", ttl: hsmd.HOUR, publish });
  t.after(() => endorser.close());
  const first = await endorser.wait(30 * SECOND);
  assert.equal(attempts.length, 2);
  mirror.endorses = false;
  mirror.events.push(await taint());
  assert.ok(await log.wait(({ head }) => head.sequenceNumber === 4, 30 * SECOND));
  await assert.rejects(endorser.current(), /tainted/);
  mirror.endorses = true;
  const second = await endorser.wait(30 * SECOND);
  assert.notEqual(second.generationId, first.generationId);
  await log.verifyEndorsement(second.text, { purpose: "response", key: endorser.publicKey });
});
