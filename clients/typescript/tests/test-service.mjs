// A service in Node beside the development installation in HSMD_DEV: endorsed through rotation and taint.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import test from "node:test";
import { createLocalJWKSet, createRemoteJWKSet, decodeProtectedHeader, errors, jwtVerify } from "jose";
import * as hsmd from "@hsmd/client";
import { connect } from "@hsmd/client/grpc";
import { jwk } from "./mirror.mjs";

const { HSMD_DEV, HSMD_ENDPOINT, HSMD_IDENTITY, HSMD_KEYS_URL, HSMD_REDIS_SOCKET } = process.env;
const SECOND = 1000;

const run = (program, ...rest) => execFileSync(program, rest, { encoding: "utf8" });
const change = (what) => run("hsmctl", what, "--reason", "the TypeScript client's test");
const redis = (...rest) => run("redis-cli", "-s", HSMD_REDIS_SOCKET, "-n", "1", ...rest);

async function follow(t, source, options = { maxStaleness: 20 * SECOND }) {
  const log = new hsmd.FollowedLog(source, HSMD_IDENTITY, options).start();
  t.after(() => log.close());
  return log;
}

async function service(t, channel = connect(HSMD_ENDPOINT)) {
  t.after(() => channel.close());
  const log = await follow(t, channel);
  assert.ok(await log.wait(() => true, 30 * SECOND));
  return { channel, log };
}

async function endorser(t, { channel, log }) {
  const published = [];
  const publish = (endorsement) => void published.push(endorsement);
  const endorser = await hsmd.Endorser.start(channel, log, { purpose: "response", ttl: hsmd.HOUR, publish });
  t.after(() => endorser.close());
  return { endorser, published, first: await endorser.wait(30 * SECOND) };
}

/** Waits until the key is endorsed by another generation than this one. */
async function anew(endorser, log, generation) {
  assert.ok(await log.wait((log) => log.head.id !== generation, 30 * SECOND));
  for (const end = Date.now() + 30 * SECOND; Date.now() < end; ) {
    const current = await endorser.wait(30 * SECOND);
    if (current.generationId !== generation) return current;
    await log.changed(100);
  }
  assert.fail("not endorsed anew");
}

test("a key stays endorsed through rotation and taint", async (t) => {
  const { channel, log } = await service(t);
  const { endorser: kept, published, first } = await endorser(t, { channel, log });
  await hsmd.verify(kept.publicKey, "a reply", await kept.sign("a reply"));
  const expected = { purpose: "response", key: kept.publicKey };
  change("rotate");
  const second = await anew(kept, log, first.generationId);
  // A rotation leaves what was endorsed before valid; a taint does not.
  await log.verifyEndorsement(first.text, expected);
  change("taint");
  const third = await anew(kept, log, second.generationId);
  await assert.rejects(log.verifyEndorsement(second.text, expected), /tainted/);
  await log.verifyEndorsement(third.text, expected);
  assert.equal(published.at(-1).generationId, third.generationId);
  // The daemon's own tools believe it, offline.
  writeFileSync(`${HSMD_DEV}/typescript.json`, third.text);
  writeFileSync(`${HSMD_DEV}/typescript-log.json`, run("hsmctl", "log", "--json"));
  const files = ["--log", `${HSMD_DEV}/typescript-log.json`, "--signed", `${HSMD_DEV}/typescript.json`];
  run("hsmctl", "verify", ...files);
});

test("what services in each language published verifies here, from either source", async (t) => {
  const { log } = await service(t);
  const http = await follow(t, new hsmd.HttpSource(HSMD_KEYS_URL));
  assert.ok(await http.wait(({ head }) => head.id === log.head().id, 30 * SECOND));
  const keys = redis("--scan", "--pattern", "1AAI*").split("\n").filter(Boolean);
  for (const name of ["HSMD_APP_URL", "HSMD_APP_PYTHON_URL", "HSMD_APP_TYPESCRIPT_URL"]) {
    const { responseKey } = await (await fetch(`${process.env[name]}/health`)).json();
    assert.ok(keys.includes(responseKey), name);
  }
  for (const key of keys) {
    const text = redis("get", key).replace(/\n$/, "");
    for (const reader of [log, http]) await reader.verifyEndorsement(text, { purpose: "response", key });
  }
  const before = http.head().sequenceNumber;
  change("rotate");
  assert.ok(await http.wait(({ head }) => head.sequenceNumber > before, 30 * SECOND));
});

test("a silent daemon makes the log stale", async (t) => {
  const channel = connect(HSMD_ENDPOINT);
  t.after(() => channel.close());
  const quick = await follow(t, channel, { maxStaleness: 6 * SECOND });
  assert.ok(await quick.wait(() => true, 30 * SECOND));
  const daemon = Number(readFileSync(`${HSMD_DEV}/hsmd.pid`, "utf8"));
  process.kill(daemon, "SIGSTOP");
  try {
    let stale = null;
    for (const end = Date.now() + 30 * SECOND; !stale && Date.now() < end; await quick.changed(100)) {
      try {
        quick.head();
      } catch (error) {
        stale = error;
      }
    }
    assert.ok(stale instanceof hsmd.Stale);
  } finally {
    process.kill(daemon, "SIGCONT");
  }
  assert.ok(await quick.wait(() => true, 60 * SECOND));
});

test("a token by a key that hsmd endorsed verifies in jose", async (t) => {
  const { channel, log } = await service(t);
  const endorser = await hsmd.Endorser.start(channel, log, { purpose: "jwt", ttl: hsmd.HOUR });
  t.after(() => endorser.close());
  const { text } = await endorser.wait(30 * SECOND);
  const token = await endorser.signToken({ sub: "ann" });
  const { kid } = decodeProtectedHeader(token);
  await log.verifyEndorsement(text, { purpose: "jwt", key: kid });
  const { payload } = await jwtVerify(token, createLocalJWKSet({ keys: [jwk(kid)] }));
  assert.equal(payload.sub, "ann");
});

test("a token verifies in jose by the keys service's list until a taint", async (t) => {
  const { channel, log } = await service(t);
  const publish = ({ publicKey, text, expiration }) => void redis("set", publicKey, text, "pxat", String(expiration));
  const endorser = await hsmd.Endorser.start(channel, log, { purpose: "jwt", ttl: hsmd.HOUR, publish });
  await endorser.wait(30 * SECOND);
  // Other tests take each key there for one of purpose response.
  t.after(() => redis("del", endorser.publicKey));
  const token = await endorser.signToken({ sub: "ann" });
  const verified = async () => {
    try {
      return (await jwtVerify(token, createRemoteJWKSet(new URL(`${HSMD_KEYS_URL}/jwks`)))).payload.sub;
    } catch (error) {
      if (error instanceof errors.JOSEError) return null;
      throw error;
    }
  };
  const becomes = async (expected) => {
    for (const end = Date.now() + 30 * SECOND; (await verified()) !== expected; await log.changed(100)) {
      assert.ok(Date.now() < end, `not ${expected}`);
    }
  };
  await becomes("ann");
  endorser.close();
  change("taint");
  await becomes(null);
});

test("another identity is never believed", async (t) => {
  const channel = connect(HSMD_ENDPOINT);
  t.after(() => channel.close());
  const problems = [];
  const onProblem = (problem) => problems.push(problem);
  const stranger = new hsmd.FollowedLog(channel, "E".padEnd(44, "A"), { onProblem }).start();
  t.after(() => stranger.close());
  while (problems.length < 2) await stranger.changed(SECOND);
  assert.ok(problems.every((problem) => problem instanceof hsmd.Refused));
  assert.throws(() => stranger.head(), /another identity/);
});

test("TLS files are read again when they change", async (t) => {
  const folder = mkdtempSync(`${tmpdir()}/hsmd-ts.`);
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name) => `${folder}/${name}`;
  const certify = (name) => {
    for (const kind of ["pem", "key"]) copyFileSync(`${HSMD_DEV}/tls/${name}.${kind}`, file(`own.${kind}`));
  };
  copyFileSync(`${HSMD_DEV}/tls/ca.pem`, file("ca.pem"));
  const port = readFileSync(`${HSMD_DEV}/app.toml`, "utf8").match(/endpoint = "(https:[^"]*)"/)[1];
  const tls = { caFile: file("ca.pem"), certificateFile: file("own.pem"), keyFile: file("own.key"), serverName: "localhost" };
  certify("keys");
  const { channel, log } = await service(t, connect(port, tls));
  const { publicKey } = await hsmd.generateKey();
  const key = await hsmd.publicKeyText(publicKey);
  // The keys service may read the log and endorse nothing; app may.
  await assert.rejects(channel.endorse("response", key, hsmd.HOUR), hsmd.Unavailable);
  certify("app");
  const text = await channel.endorse("response", key, hsmd.HOUR);
  await log.verifyEndorsement(text, { purpose: "response", key });
});
