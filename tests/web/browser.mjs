// Chromium, driven by chromedriver over the WebDriver protocol.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";
const { HSMD_PICTURES } = process.env;

/** Asks until the answer is truthy, for a minute or as long as is said. */
export async function until(what, ask, seconds = 60) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const answer = await ask();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`not within ${seconds} s: ${what}`);
}

/** Runs a program until the test ends, and gives the first match of its output. `before` is done first. */
export async function running(t, match, program, args, before = () => {}) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    await before();
    child.kill();
    // What it started may still hold the other end.
    child.stdout.destroy();
  });
  for await (const line of createInterface(child.stdout)) {
    const found = line.match(match);
    if (!found) continue;
    child.stdout.resume();
    return found[1];
  }
  return assert.fail(`${program} ended`);
}

export class Browser {
  /** `args` are Chromium's. */
  static async start(t, ...args) {
    const browser = new Browser();
    const quit = () => browser.ask("DELETE", "");
    const port = await running(t, /started successfully on port (\d+)/, "chromedriver", ["--port=0"], quit);
    browser.base = `http://127.0.0.1:${port}/session`;
    // As root there is no sandbox; the pages are our own.
    const chromium = { args: ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", ...args] };
    const always = { browserName: "chrome", "goog:chromeOptions": chromium, "goog:loggingPrefs": { browser: "ALL" } };
    const { sessionId } = await browser.ask("POST", "", { capabilities: { alwaysMatch: always } });
    browser.base += `/${sessionId}`;
    return browser;
  }

  async ask(method, path, body) {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(this.base + path, { method, headers, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    assert.ok(answer.ok, `${path}: ${value?.error}: ${value?.message}`);
    return value;
  }

  open(url) {
    return this.ask("POST", "/url", { url });
  }

  run(script, ...args) {
    return this.ask("POST", "/execute/sync", { script, args });
  }

  cdp(cmd, params) {
    return this.ask("POST", "/goog/cdp/execute", { cmd, params });
  }

  async element(selector) {
    const find = () => this.ask("POST", "/elements", { using: "css selector", value: selector });
    const [found] = await until(`${selector} is there`, async () => {
      const elements = await find();
      return elements.length > 0 && elements;
    });
    return `/element/${found[ELEMENT]}`;
  }

  async click(selector) {
    await this.ask("POST", `${await this.element(selector)}/click`, {});
  }

  async type(selector, text) {
    const element = await this.element(selector);
    await this.ask("POST", `${element}/clear`, {});
    await this.ask("POST", `${element}/value`, { text });
  }

  async text(selector) {
    return this.ask("GET", `${await this.element(selector)}/text`);
  }

  /** `scheme` is light or dark. */
  async look(scheme, width) {
    await this.cdp("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    const metrics = { width, height: 900, deviceScaleFactor: 1, mobile: false };
    await this.cdp("Emulation.setDeviceMetricsOverride", metrics);
  }

  /** A picture of the whole page in the folder HSMD_PICTURES, if there is one. */
  async picture(name) {
    if (!HSMD_PICTURES) return;
    mkdirSync(HSMD_PICTURES, { recursive: true });
    const { data } = await this.cdp("Page.captureScreenshot", { captureBeyondViewport: true });
    writeFileSync(`${HSMD_PICTURES}/${name}.png`, Buffer.from(data, "base64"));
  }

  /** What axe-core finds in the page as it is. */
  async axe() {
    await this.run(AXE);
    const script = "const done = arguments[0]; axe.run().then(({ violations }) => done(violations), done)";
    const violations = await this.ask("POST", "/execute/async", { script, args: [] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  }

  /** Errors in the console, those of answers with a status of `expected` aside. */
  async complaints(...expected) {
    const entries = await this.ask("POST", "/se/log", { type: "browser" });
    return entries
      .map(({ message }) => message)
      .filter((message) => !expected.some((status) => message.includes(`status of ${status}`)));
  }
}
