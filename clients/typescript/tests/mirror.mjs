// A keys service and gateway in this process, over the golden log and its keys, which says what a test wants.

import { ECDH, createECDH } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import * as hsmd from "@hsmd/client";

const cases = process.env.HSMD_VECTORS ?? new URL("../../../chain/tests", import.meta.url).pathname;
const VECTORS = JSON.parse(readFileSync(`${cases}/vectors.json`, "utf8"));
export const IDENTITY = VECTORS.hsmIdentity;
export const GOLDEN = await hsmd.readEvents(VECTORS.hsmKeysReply);
export const KEYS = await Promise.all([...VECTORS.events, VECTORS.nextKey].map(privateKey));

function privateKey({ privateKeyHex }) {
  const pair = createECDH("prime256v1");
  pair.setPrivateKey(privateKeyHex, "hex");
  const d = Buffer.from(privateKeyHex, "hex").toString("base64url");
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  return crypto.subtle.importKey("jwk", { ...coordinates(pair.getPublicKey()), d }, algorithm, false, ["sign"]);
}

function coordinates(point) {
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((bytes) => bytes.toString("base64url"));
  return { kty: "EC", crv: "P-256", x, y };
}

/** The JWK of a public key's text, as a JWKS has it. */
export function jwk(text) {
  const point = Buffer.from(text.slice(4), "base64url");
  const raw = ECDH.convertKey(point, "prime256v1", undefined, undefined, "uncompressed");
  return { ...coordinates(raw), kid: text, alg: "ES256", use: "sig" };
}

const instant = (at) => new Date(at).toISOString();

/** Event 4, of the key that event 3 committed to: it taints generation 3. */
export async function taint() {
  const following = await hsmd.publicKeyText((await hsmd.generateKey()).publicKey);
  const blank = "#".repeat(44);
  const text = `{"id":"${blank}","prefix":"${IDENTITY}","sequenceNumber":4,"previous":"${GOLDEN[3].id}",` +
    `"createdAt":"${instant(Date.now())}","taintPrevious":true,"purpose":"key-authorization",` +
    `"publicKey":"${VECTORS.nextKey.publicKey}","rotationHash":"${hsmd.digest(following)}"}`;
  const named = text.replace(blank, hsmd.digest(text));
  return hsmd.Event.parse(named, await hsmd.sign(KEYS[4], named));
}

/** What generation `number` signs. */
export async function signed(payload, { sequenceNumber, id }) {
  const body = `{"payload":${payload},"hsm":{"identity":"${IDENTITY}","generationId":"${id}"}}`;
  return `{"body":${body},"signature":"${await hsmd.sign(KEYS[sequenceNumber], body)}"}`;
}

/** A head statement by an event's key, of the instant `at`. */
export function statement(event, at = Date.now()) {
  const fields = `"purpose":"head","sequenceNumber":${event.sequenceNumber}`;
  return signed(`{${fields},"issuedAt":"${instant(at)}"}`, event);
}

/** `events` is the log; `head` is asked for each head statement, null if there is none. */
export class Mirror {
  events = [...GOLDEN];
  head = () => statement(this.events.at(-1));
  endorses = true;
  /** How often it was asked for a statement. */
  count = 0;
  #waiting = [];
  #server = createServer((request, response) => this.#answer(request, response));

  static async start(t, path = null) {
    const mirror = new Mirror();
    const where = path === null ? { host: "127.0.0.1", port: 0 } : { path };
    await new Promise((resolve) => mirror.#server.listen(where, resolve));
    mirror.url = path === null ? `http://127.0.0.1:${mirror.#server.address().port}` : `unix://${path}`;
    t.after(() => {
      mirror.#server.close();
      mirror.#server.closeAllConnections();
    });
    return mirror;
  }

  /** Waits until a reader has asked once more for the statement. */
  asked() {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #answer(request, response) {
    const send = (status, text = "") => {
      const etag = `"${hsmd.digest(text)}"`;
      const same = status === 200 && request.headers["if-none-match"] === etag;
      response.writeHead(same ? 304 : status, { etag }).end(same ? "" : text);
    };
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.url === "/hsm/keys") {
      const entries = this.events.map(({ text, signature }) => `{"payload":${text},"signature":"${signature}"}`);
      send(200, `[${entries}]`);
    } else if (request.url === "/hsm/head") {
      const text = await this.head();
      send(text === null ? 503 : 200, text ?? "");
      this.count += 1;
      for (const asked of this.#waiting.splice(0)) asked();
    } else if (request.url === "/sign" && this.endorses) {
      const { payload } = JSON.parse(Buffer.concat(chunks));
      send(200, await signed(JSON.stringify(payload), this.events.at(-1)));
    } else {
      send(503);
    }
  }
}
