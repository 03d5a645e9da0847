// The key log and endorsements over HTTP: from the keys service, or from hsmd-gateway.

import { Unavailable } from "./errors.js";
import { elements, members, plain, readObject } from "./text.js";
import { pause, type EndorsementSource, type LogSource, type Message } from "./source.js";

export interface HttpOptions {
  /** Where the log is below the URL: `/log` of the gateway if absent, `/hsm/keys` of the keys service. */
  logPath?: string;
  /** How often the log is asked for, in milliseconds. A taint goes unnoticed for as long. */
  interval?: number;
  /** How long an answer may take, in milliseconds. */
  timeout?: number;
  /** Another `fetch`, for example over a Unix socket (`@hsmd/client/node`). */
  fetch?: typeof fetch;
}

/**
 * Polls a log and asks for endorsements. Whoever answers is believed to be alive, so an address that is not
 * on this machine wants https.
 */
export class HttpSource implements LogSource, EndorsementSource {
  readonly #url: string;
  readonly #options: Required<HttpOptions>;

  constructor(url: string, options: HttpOptions = {}) {
    this.#url = url.replace(/\/$/, "");
    const fetch = options.fetch ?? ((...request: Parameters<typeof globalThis.fetch>) => globalThis.fetch(...request));
    this.#options = { logPath: "/log", interval: 500, timeout: 5000, ...options, fetch };
  }

  async *watch(from: number, signal: AbortSignal): AsyncIterable<Message> {
    const { logPath, interval } = this.#options;
    let etag: string | null = null;
    let known: string[] = [];
    let head: Message | null = null;
    while (!signal.aborted) {
      const headers: Record<string, string> = etag === null ? {} : { "if-none-match": etag };
      const answer = await this.#fetch(logPath, { headers, cache: "no-store", signal });
      if (answer.status !== 304 || head === null) {
        if (answer.status !== 200) throw new Unavailable(`${this.#url}${logPath} answered ${answer.status}`);
        etag = answer.headers.get("etag");
        const entries = elements(await answer.text());
        for (const [number, entry] of entries.entries()) {
          // Those before `from` are known; what changed since the last answer is judged by the log.
          if (number < from || known[number] === entry) continue;
          const parts = members(entry);
          yield { event: { text: parts.get("payload") ?? "", signature: plain(parts.get("signature"), "log: signature") } };
        }
        known = entries;
        head = { head: newest(entries) };
      }
      yield head;
      await pause(interval, signal);
    }
  }

  async endorse(purpose: string, publicKey: string, ttl: number): Promise<string> {
    const expiration = new Date(Date.now() + ttl).toISOString();
    const body = JSON.stringify({ payload: { purpose, publicKey, expiration } });
    const headers = { "content-type": "application/json" };
    const answer = await this.#fetch("/sign", { method: "POST", headers, body });
    const text = await answer.text();
    if (answer.status !== 200) throw new Unavailable(`${this.#url}/sign answered ${answer.status}: ${text.slice(0, 300)}`);
    return text.trimEnd();
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const limit = AbortSignal.timeout(this.#options.timeout);
    const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
    try {
      return await this.#options.fetch(this.#url + path, { ...init, signal });
    } catch (error) {
      throw new Unavailable(`${this.#url}${path} does not answer: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** What a log calls its newest event; whether it is one was judged before. */
function newest(entries: string[]): { id: string; sequenceNumber: number } {
  const last = entries.at(-1);
  const id = last && readObject(members(last).get("payload") ?? "{}")["id"];
  return { id: String(id), sequenceNumber: entries.length - 1 };
}
