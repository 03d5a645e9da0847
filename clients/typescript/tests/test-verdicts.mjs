// The verdicts of hsmd-chain on mutated logs (chain/examples/verdicts) in the file HSMD_VERDICTS are ours, too.

import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import test from "node:test";
import * as hsmd from "@hsmd/client";

/** The value, or null if it is refused. Whatever else is thrown fails the test. */
async function verdict(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof hsmd.Refused) return null;
    throw error;
  }
}

test("the same logs and endorsements are accepted", async (t) => {
  const counts = { logs: 0, accepted: 0, endorsements: 0, endorsed: 0 };
  for await (const line of createInterface(createReadStream(process.env.HSMD_VERDICTS))) {
    const { log: text, anchor, now: instant, accept, signed } = JSON.parse(line);
    const now = hsmd.milliseconds(instant);
    const log = await verdict(hsmd.KeyLog.parse(text, anchor, now));
    assert.equal(log !== null, accept, line);
    counts.logs += 1;
    if (!log) continue;
    counts.accepted += 1;
    const { purpose, key, window } = signed;
    const endorsed = await verdict(hsmd.verifyEndorsement(signed.text, log, now, { purpose, key, window }));
    assert.equal(endorsed !== null, signed.accept, line);
    counts.endorsements += 1;
    counts.endorsed += endorsed ? 1 : 0;
  }
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.logs >= 300 && counts.accepted >= 0.3 * counts.logs, JSON.stringify(counts));
  assert.ok(counts.endorsed >= 0.2 * counts.endorsements, JSON.stringify(counts));
});
