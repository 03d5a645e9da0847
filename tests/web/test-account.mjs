// The page /account of hsmd-accounts in Chromium: light and dark, narrow and wide, with axe-core.

import assert from "node:assert/strict";
import test from "node:test";
import { Browser } from "./browser.mjs";

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
  assert.equal(await first.text("h1"), "Sign in");
  await inspect(first, "visitor");
  await first.type("#up-name", "Ann & <b>Zoë</b>");
  await first.type("#up-email", email);
  await first.type("#up-password", PASSWORD);
  await first.click("form[action='/account/sign-up'] button");
  assert.equal(await first.text("h1"), "Your account");
  assert.match(await first.text("section p"), /Ann & <b>Zoë<\/b>.*page-/);

  await signIn(second, "wrong password");
  assert.match(await second.text("[role=alert]"), /Invalid email or password/);
  await inspect(second, "refused");
  await signIn(second, PASSWORD);
  assert.equal(await second.text("h1"), "Your account");

  await first.open(`${HSMD_ACCOUNTS_URL}/account`);
  assert.equal(await first.run("return document.querySelectorAll('.sessions li').length"), 2);
  await inspect(first, "sessions");
  await first.click("form[action='/account/revoke'] button");
  assert.equal(await first.run("return document.querySelectorAll('.sessions li').length"), 1);
  await second.open(`${HSMD_ACCOUNTS_URL}/account`);
  assert.equal(await second.text("h1"), "Sign in");

  await first.type("#current", PASSWORD);
  await first.type("#new", "battery staple");
  await first.click("form[action='/account/change-password'] button");
  await inspect(first, "changed");
  await first.click("form[action='/account/sign-out'] button");
  assert.equal(await first.text("h1"), "Sign in");
  await signIn(second, "battery staple");
  assert.equal(await second.text("h1"), "Your account");
  assert.deepEqual(await first.complaints(), []);
  assert.deepEqual(await second.complaints(401), []);
});
