// The examples for web applications against the development installation in HSMD_DEV: a React page, and
// backends with jose, PyJWT and python-jose. EXAMPLES is where they were copied, PYTHON has their packages.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:net";
import test from "node:test";
import { Browser, running, until } from "./browser.mjs";

const { EXAMPLES, HSMD_ACCOUNTS_ORIGIN, HSMD_ACCOUNTS_URL, HSMD_DEV, PYTHON } = process.env;
const PASSWORD = "correct horse";

/** Both backends: where a token is shown, by name. */
async function backends(t) {
  const node = await running(t, /(http:.*)/, "node", [`${EXAMPLES}/node/server.mjs`, HSMD_ACCOUNTS_URL]);
  const port = await freePort();
  const uvicorn = ["-m", "uvicorn", "--app-dir", `${EXAMPLES}/fastapi`, "main:app", "--port", port, "--log-level", "error"];
  const env = { ...process.env, SITE: HSMD_ACCOUNTS_URL, PYTHONDONTWRITEBYTECODE: "1" };
  const child = spawn(PYTHON, uvicorn, { env, stdio: ["ignore", "inherit", "inherit"] });
  t.after(() => child.kill());
  const fastapi = `http://127.0.0.1:${port}`;
  await until("FastAPI answers", () => fetch(fastapi).then(() => true, () => false));
  return { jose: `${node}/`, PyJWT: `${fastapi}/pyjwt`, "python-jose": `${fastapi}/jose` };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}

/** A user by the plain API, and how to get his tokens. */
async function user() {
  const headers = { "content-type": "application/json", origin: HSMD_ACCOUNTS_ORIGIN };
  const email = `user-${Date.now()}-${Math.random()}@example.com`;
  const body = JSON.stringify({ name: "Ann", email, password: PASSWORD });
  const answer = await fetch(`${HSMD_ACCOUNTS_URL}/api/auth/sign-up/email`, { method: "POST", headers, body });
  assert.equal(answer.status, 200);
  const cookie = answer.headers.getSetCookie()[0].split(";")[0];
  return async () => {
    const answer = await fetch(`${HSMD_ACCOUNTS_URL}/api/auth/token`, { headers: { cookie } });
    return answer.status === 200 ? (await answer.json()).token : null;
  };
}

const part = (token, at) => JSON.parse(Buffer.from(token.split(".")[at], "base64url"));
const show = (url, token) => fetch(url, { headers: { authorization: `Bearer ${token}` } });

test("a React page: sign up, sessions, token, sign out, sign in", async (t) => {
  // A replica that was just restarted waits until verifiers know its key.
  await until("a token", await user(), 120);
  const served = await running(t, /http:.*:(\d+)/, "node", [`${EXAMPLES}/web/serve.mjs`, local(), "0"]);
  const { host } = new URL(HSMD_ACCOUNTS_ORIGIN);
  const browser = await Browser.start(t, `--host-resolver-rules=MAP ${host} 127.0.0.1:${served}`);
  const email = `web-${Date.now()}@example.com`;
  await browser.open(`${HSMD_ACCOUNTS_ORIGIN}/`);
  await browser.type("#up-name", "Ann");
  await browser.type("#up-email", email);
  await browser.type("#up-password", PASSWORD);
  await browser.click("#sign-up button");
  assert.equal(await browser.text("#user"), `Ann ${email}`);
  await until("one session is listed", async () => /This one/.test(await browser.text("#sessions")));
  await browser.click("#get-token");
  const token = await until("a token", () => browser.text("#token"));
  assert.equal(part(token, 1).email, email);
  for (const scheme of ["light", "dark"]) {
    await browser.look(scheme, 900);
    assert.deepEqual(await browser.axe(), []);
    await browser.picture(`web-${scheme}`);
  }
  await browser.click("#sign-out");
  await browser.type("#in-email", email);
  await browser.type("#in-password", "wrong password");
  await browser.click("#sign-in button");
  assert.equal(await browser.text("[role=alert]"), "Invalid email or password");
  await browser.type("#in-password", PASSWORD);
  await browser.click("#sign-in button");
  assert.equal(await browser.text("#user"), `Ann ${email}`);
  assert.deepEqual(await browser.complaints(401), []);
});

/** The service under the page's site, so that its cookie is sent. */
function local() {
  return HSMD_ACCOUNTS_URL.replace("127.0.0.1", "localhost");
}

test("backends believe tokens, and ask again for a key that they do not know", async (t) => {
  const [urls, token] = [await backends(t), await user()];
  const before = await until("a token", token, 120);
  const forged = before.replace(/\.([^.])([^.]*)$/, (_, first, rest) => `.${first === "A" ? "B" : "A"}${rest}`);
  for (const [name, url] of Object.entries(urls)) {
    const good = await show(url, before);
    assert.equal(good.status, 200, name);
    assert.equal((await good.json()).hello, "Ann");
    for (const bad of [forged, "x.y.z", ""]) assert.equal((await show(url, bad)).status, 401, `${name}: ${bad}`);
  }
  // Withdrawn for ever: the replica makes another key.
  const { kid } = part(before, 0);
  execFileSync("hsmd-accounts", ["--config", `${HSMD_DEV}/accounts-1.toml`, "withdraw", kid]);
  const after = await until("a token by another key", async () => {
    const next = await token();
    return next && part(next, 0).kid !== kid && next;
  }, 180);
  for (const [name, url] of Object.entries(urls)) {
    await until(`${name} believes the new key`, async () => (await show(url, after)).status === 200, 90);
    await until(`${name} refuses the withdrawn key`, async () => (await show(url, before)).status === 401, 90);
  }
});
