// The page /account of hsmd-accounts in Chromium: light and dark, narrow and wide, with axe-core.

import assert from "node:assert/strict";
import test from "node:test";
import { Browser, until } from "./browser.mjs";

const { HSMD_ACCOUNTS_URL } = process.env;
const PASSWORD = "correct horse";

/** In each look: nothing for axe-core, nothing wider than the page. */
async function inspect(browser, name) {
  for (const scheme of ["light", "dark"]) {
    for (const width of [1200, 360]) {
      await browser.look(scheme, width);
      assert.deepEqual(await browser.axe(), [], `${name}, ${scheme}, ${width}`);
      const overflow = await browser.run("return document.documentElement.scrollWidth - innerWidth");
      assert.ok(overflow <= 0, `${name} at ${width} is ${overflow} too wide`);
      await browser.picture(`account-${name}-${scheme}-${width}`);
    }
  }
}

/** Waits for what a page shows: a click does not wait for the page that it leads to. */
function eventually(what, ask) {
  return until(what, async () => {
    try {
      return await ask();
    } catch {
      // It was asked of the page before.
      return false;
    }
  });
}

const shows = (browser, selector, expected) =>
  eventually(`${selector} shows ${expected}`, async () => {
    const text = await browser.text(selector);
    return expected instanceof RegExp ? expected.test(text) : text === expected;
  });

const sessions = (browser, count) =>
  eventually(`${count} sessions`, async () => {
    return (await browser.run("return document.querySelectorAll('.sessions li').length")) === count;
  });

test("everything a person does on the page", async (t) => {
  const [first, second] = [await Browser.start(t), await Browser.start(t)];
  const email = `page-${Date.now()}@example.com`;
  const signIn = async (browser, password) => {
    await browser.open(`${HSMD_ACCOUNTS_URL}/account`);
    await browser.type("#in-email", email);
    await browser.type("#in-password", password);
    await browser.click("form[action='/account/sign-in'] button");
  };

  await first.open(`${HSMD_ACCOUNTS_URL}/account`);
  await shows(first, "h1", "Sign in");
  await inspect(first, "visitor");
  await first.type("#up-name", "Ann & <b>Zoë</b>");
  await first.type("#up-email", email);
  await first.type("#up-password", PASSWORD);
  await first.click("form[action='/account/sign-up'] button");
  await shows(first, "h1", "Your account");
  await shows(first, "section p", /Ann & <b>Zoë<\/b>.*page-/);

  await signIn(second, "wrong password");
  await shows(second, "[role=alert]", /Invalid email or password/);
  await inspect(second, "refused");
  await signIn(second, PASSWORD);
  await shows(second, "h1", "Your account");

  await first.open(`${HSMD_ACCOUNTS_URL}/account`);
  await sessions(first, 2);
  await inspect(first, "sessions");
  await first.click("form[action='/account/revoke'] button");
  await sessions(first, 1);
  await second.open(`${HSMD_ACCOUNTS_URL}/account`);
  await shows(second, "h1", "Sign in");

  await first.type("#current", PASSWORD);
  await first.type("#new", "battery staple");
  await first.click("form[action='/account/change-password'] button");
  const emptied = "return document.getElementById('new').value === ''";
  await eventually("the form is empty again", () => first.run(emptied));
  await inspect(first, "changed");
  await first.click("form[action='/account/sign-out'] button");
  await shows(first, "h1", "Sign in");
  await signIn(second, "battery staple");
  await shows(second, "h1", "Your account");
  assert.deepEqual(await first.complaints(), []);
  assert.deepEqual(await second.complaints(401), []);
});
