// JSON Web Tokens by an endorsed key verify in jose, as every other ES256 token.

import assert from "node:assert/strict";
import test from "node:test";
import { createLocalJWKSet, decodeProtectedHeader, errors, jwtVerify } from "jose";
import * as hsmd from "@hsmd/client";
import { IDENTITY, Mirror, jwk, taint } from "./mirror.mjs";

const SECOND = 1000;
const audience = "https://api.example";

const verify = (token, ...keys) =>
  jwtVerify(token, createLocalJWKSet({ keys: keys.map(jwk) }), { audience, requiredClaims: ["exp", "iat", "sub"] });

async function service(t) {
  const mirror = await Mirror.start(t);
  const source = new hsmd.HttpSource(mirror.url, { interval: 20 });
  const log = new hsmd.FollowedLog(source, IDENTITY).start();
  t.after(() => log.close());
  const endorser = await hsmd.Endorser.start(source, log, { purpose: "jwt", ttl: hsmd.HOUR });
  t.after(() => endorser.close());
  return { mirror, log, endorser, endorsement: await endorser.wait(30 * SECOND) };
}

test("the endorsed key signs what was claimed", async (t) => {
  const { log, endorser, endorsement } = await service(t);
  const claims = { sub: 'ünï\u2028 "quoted"', aud: audience, scope: ["read", "write"] };
  const token = await endorser.signToken(claims, 60 * SECOND);
  assert.deepEqual(decodeProtectedHeader(token), { alg: "ES256", typ: "JWT", kid: endorser.publicKey });
  const { payload } = await verify(token, endorser.publicKey);
  const { iat, exp, ...claimed } = payload;
  assert.deepEqual(claimed, claims);
  assert.equal(exp - iat, 60);
  // What a JWKS of endorsed keys is made from.
  await log.verifyEndorsement(endorsement.text, { purpose: "jwt", key: endorser.publicKey });
});

test("no token outlives the endorsement", async (t) => {
  const { endorser, endorsement } = await service(t);
  const claims = { sub: "a", aud: audience, exp: 4_000_000_000, iat: 1 };
  const { payload } = await verify(await endorser.signToken(claims, 24 * hsmd.HOUR), endorser.publicKey);
  assert.equal(payload.exp, Math.floor(endorsement.expiration / 1000));
  assert.ok(payload.iat > 1);
});

test("another key and other claims are refused", async (t) => {
  const { endorser } = await service(t);
  const token = await endorser.signToken({ sub: "a", aud: audience });
  const { publicKey } = await hsmd.generateKey();
  const another = { ...jwk(await hsmd.publicKeyText(publicKey)), kid: endorser.publicKey };
  await assert.rejects(jwtVerify(token, createLocalJWKSet({ keys: [another] })), errors.JWSSignatureVerificationFailed);
  const [header, , signature] = token.split(".");
  const [, forged] = (await endorser.signToken({ sub: "b", aud: audience })).split(".");
  const mixed = [header, forged, signature].join(".");
  await assert.rejects(verify(mixed, endorser.publicKey), errors.JWSSignatureVerificationFailed);
});

test("a tainted endorsement signs none", async (t) => {
  const { mirror, log, endorser } = await service(t);
  mirror.endorses = false;
  mirror.events.push(await taint());
  assert.ok(await log.wait(({ head }) => head.sequenceNumber === 4, 30 * SECOND));
  await assert.rejects(endorser.signToken({ sub: "a" }), (error) =>
    error instanceof hsmd.Unavailable && error.message.includes("tainted"));
});
