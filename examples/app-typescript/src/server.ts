// An application in TypeScript behind the access tokens of hsmd-auth, `POST /foo/bar`: node dist/server.js CONFIG.json

import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Endorser, FollowedLog, HOUR, Refused, Stale, Unavailable, type Endorsement } from "@hsmd/client";
import { connect, type Channel, type Tls } from "@hsmd/client/grpc";
import { LOOK_BACK, Refusal, UNAVAILABLE, fooBar, verifyAccess } from "./access.js";
import { Stores, Unknown } from "./stores.js";

const MAX_BODY = 64 << 10;
const NOTHING_HERE = new Refusal(404, "BA000", "there is nothing here");

interface Config {
  listen: string;
  serverName: string;
  hsm: { identity: string; endpoint: string; tls?: Tls };
  redis: string;
}

/** Its own key, endorsed and published, and what it knows of others'. */
class App {
  #problem = "Redis has not been asked yet";
  readonly #looking: NodeJS.Timeout;

  private constructor(
    private readonly name: string,
    private readonly stores: Stores,
    private readonly channel: Channel,
    private readonly log: FollowedLog,
    private readonly endorser: Endorser,
  ) {
    this.#looking = setInterval(() => void this.#look(), 1000);
  }

  static async start({ serverName, hsm, redis }: Config): Promise<App> {
    const stores = new Stores(redis);
    const channel = connect(hsm.endpoint, hsm.tls);
    const log = new FollowedLog(channel, hsm.identity).start();
    const endorser = await Endorser.start(channel, log, {
      purpose: "response",
      ttl: 12 * HOUR,
      publish: (endorsement) => publish(stores, endorsement),
      onProblem: (problem) => console.error(`not endorsed: ${problem.message}`),
    });
    return new App(serverName, stores, channel, log, endorser);
  }

  async close(): Promise<void> {
    clearInterval(this.#looking);
    await this.endorser.close();
    await this.log.close();
    this.channel.close();
    this.stores.close();
  }

  /** The signed reply to a request that passed every check, or `Refusal`. */
  async answer(body: Uint8Array): Promise<string> {
    try {
      await this.endorser.current();
      const message = await verifyAccess(body, Date.now(), {
        isEndorsed: (key) => this.#isEndorsed(key),
        useNonce: (nonce, timestamp) => this.stores.useNonce(nonce, timestamp),
        isRevoked: (device) => this.stores.isRevoked(device),
      });
      const { foo, bar } = fooBar(message.request);
      const response = JSON.stringify({ wasFoo: foo, wasBar: bar, serverName: this.name });
      const access = JSON.stringify({ nonce: message.nonce, serverIdentity: this.endorser.publicKey });
      const payload = `{"access":${access},"response":${response}}`;
      return `{"payload":${payload},"signature":"${await this.endorser.sign(payload)}"}`;
    } catch (error) {
      if (!(error instanceof Unknown || error instanceof Stale || error instanceof Unavailable)) throw error;
      console.error(`undecided: ${error.message}`);
      throw UNAVAILABLE;
    }
  }

  /** What keeps it from answering, and facts. */
  async health(): Promise<{ problems: string[]; facts: object }> {
    const responseKey = this.endorser.publicKey;
    try {
      const { generationId } = await this.endorser.current();
      return { problems: this.#problem ? [this.#problem] : [], facts: { responseKey, generationId } };
    } catch (error) {
      return { problems: [(error as Error).message], facts: { responseKey, generationId: null } };
    }
  }

  /** Redis has the endorsements, the key log judges them. */
  async #isEndorsed(key: string): Promise<boolean> {
    const text = await this.stores.endorsement(key);
    try {
      if (text !== null) await this.log.verifyEndorsement(text, { purpose: "access", key, window: LOOK_BACK });
      return text !== null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      console.error(`refused the server key ${key}: ${error.message}`);
      return false;
    }
  }

  /** Every second: whether Redis holds our endorsement still, and can vouch for requests. */
  async #look(): Promise<void> {
    try {
      await publish(this.stores, await this.endorser.current());
      await this.stores.check();
      this.#problem = "";
    } catch (error) {
      this.#problem = (error as Error).message;
    }
  }
}

function publish(stores: Stores, { publicKey, text, expiration }: Endorsement): Promise<void> {
  return stores.publish(publicKey, text, expiration);
}

async function serve(app: App, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const send = (status: number, text: string) => {
    for (const name of ["origin", "headers", "methods"]) response.setHeader(`access-control-allow-${name}`, "*");
    response.writeHead(status, { "cache-control": "no-store", "content-type": "application/json" }).end(text);
  };
  try {
    const [status, text] = await answer(app, request);
    send(status, text);
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    const { status, code, message } = error instanceof Refusal ? error : UNAVAILABLE;
    // Two answers are older than the protocol's form of errors.
    send(status, JSON.stringify({ error: code ? { code, message, context: {} } : message }));
  }
}

async function answer(app: App, request: IncomingMessage): Promise<[number, string]> {
  const { method, url } = request;
  if (method === "OPTIONS") return [200, ""];
  if (url === "/foo/bar") {
    if (method !== "POST") throw new Refusal(405, "BA000", "requests are posted");
    return [200, await app.answer(await read(request))];
  }
  if (url === "/live") return [200, '{"status":"live"}'];
  if (url !== "/ready" && url !== "/health") throw NOTHING_HERE;
  const { problems, facts } = await app.health();
  const ill = problems.length > 0;
  const said = ill ? { problems } : {};
  const answers = {
    "/ready": { status: ill ? "not ready" : "ready", ...said },
    "/health": { status: ill ? "unhealthy" : "healthy", ...said, ...facts },
  };
  return [ill ? 503 : 200, JSON.stringify(answers[url])];
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= MAX_BODY) chunks.push(chunk);
  }
  if (size > MAX_BODY) throw new Refusal(413, "BA000", "the request can't be read");
  return Buffer.concat(chunks);
}

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: node dist/server.js CONFIG.json");
const config = JSON.parse(readFileSync(file, "utf8")) as Config;
const [, host, port] = config.listen.match(/^(.*):(\d+)$/) ?? [];
const app = await App.start(config);
const server = createServer({ requestTimeout: 10_000 }, (request, response) => void serve(app, request, response));
server.listen(Number(port), host);
process.once("SIGTERM", () => {
  server.close(() => void app.close());
  server.closeIdleConnections();
});
