// The page's one button: fetches the log again and verifies every event here.

import { Refused, verifyLog } from "./keylog.js";

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
  try {
    const response = await fetch("/hsm/keys", { cache: "no-store" });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const text = await response.text();
    const began = performance.now();
    const seen = new Set();
    const { events, head } = await verifyLog(text, field.value.trim(), Date.now(), (done, all, id) => {
      seen.add(id);
      document.getElementById(id)?.classList.add("verified");
      if (done % 25 === 0) say("running", `${done} of ${all} events verified …`);
    });
    // A log that proves itself can still be an older one.
    if (!seen.has(section.dataset.head)) throw new Refused(null, "it lacks the head of this page");
    const seconds = ((performance.now() - began) / 1000).toFixed(2);
    say(
      "valid",
      `Valid. ${events === 1 ? "The one event was" : `All ${events} events were`} verified in this ` +
        `browser in ${seconds} s; the head is ${head}.`,
    );
  } catch (error) {
    if (!(error instanceof Refused)) {
      say("unable", `The log could not be verified: ${error.message}.`);
      return;
    }
    const where = error.number === null ? "The log" : `Event ${error.number}`;
    document.querySelector(`[data-number="${error.number}"]`)?.classList.add("refused");
    say("invalid", `Not valid. ${where} is refused: ${error.message}.`);
  }
}

function say(state, sentence) {
  verdict.dataset.verdict = state;
  verdict.textContent = sentence;
}
