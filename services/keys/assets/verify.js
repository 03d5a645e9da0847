// The page's one button: fetches the log and the endorsed response keys again and verifies them here.

import { Anchor, Refused, verifyEndorsements, verifyHead, verifyLog } from "./keylog.js";

/** How a good statement is refused that was not made now. */
const OTHER_TIMES = ["head: stale", "head: from the future"];

const section = document.getElementById("verify");
const button = section.querySelector("button");
const field = section.querySelector("input");
const verdict = section.querySelector("output");

section.querySelector("form").hidden = false;
section.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  button.disabled = true;
  verify().finally(() => {
    button.disabled = false;
  });
});

async function verify() {
  for (const mark of document.querySelectorAll(".verified, .refused")) {
    mark.classList.remove("verified", "refused");
  }
  say("running", "Fetching the log …");
  if (!globalThis.crypto?.subtle) {
    say("unable", "This browser offers no WebCrypto here: open the page over HTTPS or from localhost.");
    return;
  }
  let anchor;
  try {
    anchor = Anchor.parse(field.value.trim());
  } catch {
    say("unable", "What you expect is neither an identity, E…, nor one with a head, E…@number:E….");
    return;
  }
  try {
    say("valid", await verifyAll(anchor).catch((error) => {
      // The log may have moved between the answers: only a statement of another head than the second log's is wrong.
      if (error.name !== "OtherHead") throw error;
      return verifyAll(anchor);
    }));
  } catch (error) {
    if (!(error instanceof Refused)) {
      say("unable", `The log could not be verified: ${error.message}.`);
      return;
    }
    const where = error.what ?? (error.number === undefined ? "The log" : `Event ${error.number}`);
    document.querySelector(`[data-number="${error.number}"]`)?.classList.add("refused");
    say("invalid", `Not valid. ${where} is refused (${error.message}).`);
  }
}

/** Fetches everything and verifies it. What it returns is for people. */
async function verifyAll(anchor) {
  const [text, keys, statement] = [await fetched("/hsm/keys"), await fetched("/keys"), await fetchedStatement()];
  const now = Date.now();
  const began = performance.now();
  const seen = new Set();
  const log = await verifyLog(text, anchor, now, (done, all, id) => {
    seen.add(id);
    document.getElementById(id)?.classList.add("verified");
    if (done % 25 === 0) say("running", `${done} of ${all} events verified …`);
  });
  // A log that proves itself can still be an older one.
  if (!seen.has(section.dataset.head)) throw new Refused("it lacks the head of this page");
  const freshness = await verifyFreshness(statement, log, now);
  const endorsed = await verifyKeys(keys, log);
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  return (
    `Valid. ${log.events.length === 1 ? "The one event was" : `All ${log.events.length} events were`} verified ` +
    `in this browser in ${seconds} s, and so were the endorsements of ${endorsed} response ` +
    `${endorsed === 1 ? "key" : "keys"}; the head is ${log.head.id}, ${freshness}.`
  );
}

async function fetched(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.text();
}

/** The newest head statement, or null while there is none that is new enough. */
async function fetchedStatement() {
  const response = await fetch("/hsm/head", { cache: "no-store" });
  if (response.status === 503) return null;
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.text();
}

/**
 * Verifies the head statement, which was fetched `now`. Without one the log is good, but may have been frozen; one
 * of another time says no more, and perhaps only this machine's clock is wrong.
 */
async function verifyFreshness(statement, log, now) {
  if (statement === null) return "which no new statement of its key shows to be the newest event";
  try {
    const age = now - (await verifyHead(statement, log, now));
    return `the newest event as its key stated ${Math.max(0, Math.round(age / 1000))} s ago`;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (OTHER_TIMES.includes(error.message)) {
      return `which its key's statement does not show to be the newest event by this machine's clock (${error.message})`;
    }
    throw Object.assign(error, { what: "The head statement" });
  }
}

/** Verifies the response keys. One that the page shows must be good; what it does not show may be old. */
async function verifyKeys(text, log) {
  const window = Number(section.dataset.window);
  const verdicts = await verifyEndorsements(text, log, "response", Date.now(), window);
  for (const { key, refused } of verdicts) {
    const row = document.getElementById(key);
    row?.classList.add(refused === null ? "verified" : "refused");
    if (row && refused !== null) {
      throw Object.assign(new Refused(refused), { what: `The endorsement of ${key}` });
    }
  }
  return verdicts.filter(({ refused }) => refused === null).length;
}

function say(state, sentence) {
  verdict.dataset.verdict = state;
  verdict.textContent = sentence;
}
