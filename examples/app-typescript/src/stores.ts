// What the services share in Redis: endorsements, revoked devices and used nonces (docs/services.md).

import { randomUUID } from "node:crypto";
import { createClient } from "@redis/client";
import { AGE, SKEW } from "./access.js";

const TIMEOUT = 500;

/** Whether this process of Redis can vouch for what it does not hold: it must not evict entries. */
const SERVER = `
local server = redis.call('INFO', 'server')
local run_id = string.match(server, 'run_id:(%w+)')
if string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:(%w+)') ~= 'noeviction' then return 'unknown' end
`;

// The same entries as those of hsmd-app, so that a request to one application is used up for all. After a flush
// or a restart an earlier use may be forgotten, so requests stamped before it plus the skew can't be judged.
const USE = `${SERVER}
local stamp, skew, keep, attempt = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%w+):(%d+)$')
since = tonumber(since)
if run ~= run_id or since > now then
  since = now
  redis.call('SET', KEYS[1], run_id .. ':' .. string.format('%d', now))
end
if not stamp then
  redis.call('SET', KEYS[1], run_id .. ':' .. string.format('%d', since))
  return now > since + skew and 'fresh' or 'unknown'
end
if stamp <= since + skew or stamp > now + skew then return 'unknown' end
local user = redis.call('GET', KEYS[2])
if user then return user == attempt and 'fresh' or 'used' end
redis.call('SET', KEYS[2], attempt, 'PX', keep)
return 'fresh'
`;

/** Auth writes the marker when it has written every revocation into this process of Redis. */
const STATUS = `${SERVER}
if redis.call('EXISTS', KEYS[2]) == 1 then return 'revoked' end
return redis.call('GET', KEYS[1]) == run_id and 'active' or 'unknown'
`;

/** Redis can't tell now; nothing was decided. */
export class Unknown extends Error {}

type Database = ReturnType<typeof open>;

function open(url: string, database: number) {
  const where = url.startsWith("unix://") ? { socket: { path: url.slice("unix://".length), tls: false as const } } : { url };
  const client = createClient({ ...where, database, disableOfflineQueue: true });
  // Said by each call; the connection is made anew by itself.
  client.on("error", () => {});
  void client.connect().catch(() => {});
  return client;
}

export class Stores {
  readonly #access: Database;
  readonly #response: Database;
  readonly #revoked: Database;
  readonly #nonces: Database;

  constructor(url: string) {
    [this.#access, this.#response, this.#revoked, this.#nonces] = [0, 1, 3, 5].map((database) => open(url, database)) as
      [Database, Database, Database, Database];
  }

  close(): void {
    for (const client of [this.#access, this.#response, this.#revoked, this.#nonces]) client.destroy();
  }

  /** What is stored for a server's access key; nothing of it is verified. */
  endorsement(key: string): Promise<string | null> {
    return within(this.#access.get(key));
  }

  /** Keeps our endorsement where readers find it; a flush takes it away. */
  async publish(key: string, text: string, expiration: number): Promise<void> {
    if ((await within(this.#response.get(key))) === text) return;
    await within(this.#response.set(key, text, { expiration: { type: "PXAT", value: expiration + 60_000 } }));
  }

  /** Whether it was not used before. Now it is. */
  async useNonce(nonce: string, timestamp: number): Promise<boolean> {
    return (await this.#use(nonce, String(timestamp))) === "fresh";
  }

  async isRevoked(device: string): Promise<boolean> {
    const status = await within(this.#revoked.eval(STATUS, { keys: ["complete", device] }));
    if (status === "unknown") throw new Unknown("Redis does not hold all revocations");
    return status === "revoked";
  }

  /** Throws while no request could be judged. */
  async check(): Promise<void> {
    await this.#use("", "");
    await this.isRevoked("");
  }

  async #use(nonce: string, timestamp: string): Promise<unknown> {
    const given = [timestamp, String(SKEW), String(AGE + SKEW), randomUUID()];
    const answer = await within(this.#nonces.eval(USE, { keys: ["since", nonce], arguments: given }));
    if (answer === "unknown") throw new Unknown("Redis has forgotten which requests were made");
    return answer;
  }
}

async function within<T>(call: Promise<T>): Promise<T> {
  let timer;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Unknown(`Redis does not answer within ${TIMEOUT} ms`)), TIMEOUT);
  });
  try {
    return await Promise.race([call, late]);
  } catch (error) {
    throw error instanceof Unknown ? error : new Unknown(`Redis: ${(error as Error).message}`);
  } finally {
    clearTimeout(timer);
  }
}
