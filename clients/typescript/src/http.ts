// The key log and endorsements over HTTP: from the keys service, or from hsmd-gateway.

import { Unavailable, must } from "./errors.js";
import { readEntry } from "./event.js";
import { entries, fromBytes, readObject } from "./text.js";
import { MESSAGE_TIMEOUT, pause, type EndorsementSource, type LogSource, type Message } from "./source.js";

export interface HttpOptions {
  /** Where the log is below the URL: `/hsm/keys` if absent. The head statement is at `head` beside it. */
  logPath?: string;
  /** How often the log is asked for, in milliseconds. A taint goes unnoticed for as long. */
  interval?: number;
  /**
   * Whether whoever answers is believed to answer with the newest log, as hsmd-gateway does. Absent: no; only a
   * head statement shows that.
   */
  trusted?: boolean;
  /** How long an answer may take, in milliseconds. */
  timeout?: number;
  /** Another `fetch`, for example over a Unix socket (`@hsmd/client/node`). */
  fetch?: typeof fetch;
}

/** The largest log accepted, in bytes: about 100,000 events. */
const MAX_LOG = 64 << 20;

/** The largest other answer accepted; a head statement has about 400 bytes. */
const MAX_ANSWER = 64 << 10;

/** What an answer's buffer has room for at first, in bytes. */
const FIRST_BUFFER = 4 << 10;

interface Answer {
  status: number;
  etag: string | null;
  text: string;
}

/**
 * Polls a log and asks for endorsements. A source need not be trusted: only a head statement shows that its log
 * is the newest, as of the time at which the statement was made.
 */
export class HttpSource implements LogSource, EndorsementSource {
  readonly messageTimeout: number;
  readonly #url: string;
  readonly #options: Required<HttpOptions>;

  constructor(url: string, options: HttpOptions = {}) {
    this.#url = url.replace(/\/$/, "");
    const fetch = options.fetch ?? ((...request: Parameters<typeof globalThis.fetch>) => globalThis.fetch(...request));
    this.#options = { logPath: "/hsm/keys", interval: 500, trusted: false, timeout: 5000, ...options, fetch };
    // Each answer has a timeout of its own; this one must not end the pause between two of them.
    const { interval, timeout } = this.#options;
    this.messageTimeout = Math.max(MESSAGE_TIMEOUT, interval + 2 * timeout);
  }

  async *watch(from: number, signal: AbortSignal): AsyncIterable<Message> {
    const { logPath, interval, trusted } = this.#options;
    let etag: string | null = null;
    let known: string[] = [];
    let head: Message | null = null;
    while (!signal.aborted) {
      const headers: Record<string, string> = etag === null ? {} : { "if-none-match": etag };
      const answer = await this.#ask(logPath, { headers, cache: "no-store", signal }, MAX_LOG);
      if (answer.status !== 304 || head === null) {
        if (answer.status !== 200) throw new Unavailable(`${this.#url}${logPath} answered ${answer.status}`);
        etag = answer.etag;
        const found: string[] = [];
        for (const entry of entries(answer.text)) {
          const number = found.push(entry) - 1;
          // Those before `from` are known; what changed since the last answer is judged by the log.
          if (number < from || known[number] === entry) continue;
          yield { event: readEntry(entry) };
        }
        known = found;
        head = { head: newest(found), authenticated: trusted };
      }
      yield head;
      if (!trusted) yield await this.#statement(signal);
      await pause(interval, signal);
    }
  }

  async endorse(purpose: string, publicKey: string, ttl: number): Promise<string> {
    const expiration = new Date(Date.now() + ttl).toISOString();
    const body = JSON.stringify({ payload: { purpose, publicKey, expiration } });
    const headers = { "content-type": "application/json" };
    const { status, text } = await this.#ask("/sign", { method: "POST", headers, body }, MAX_ANSWER);
    if (status !== 200) throw new Unavailable(`${this.#url}/sign answered ${status}: ${text.slice(0, 300)}`);
    return text.trimEnd();
  }

  /** The newest head statement. Without one the log is good still, so it is not fetched anew. */
  async #statement(signal: AbortSignal): Promise<Message> {
    const path = this.#options.logPath.replace(/[^/]*$/, "head");
    try {
      const { status, text } = await this.#ask(path, { cache: "no-store", signal }, MAX_ANSWER);
      if (status === 200) return { statement: text };
      return { noStatement: new Unavailable(`${this.#url}${path} answered ${status}`) };
    } catch (error) {
      return { noStatement: error as Error };
    }
  }

  async #ask(path: string, init: RequestInit, limit: number): Promise<Answer> {
    const timeout = AbortSignal.timeout(this.#options.timeout);
    const signal = init.signal ? AbortSignal.any([init.signal, timeout]) : timeout;
    try {
      const answer = await this.#options.fetch(this.#url + path, { redirect: "error", ...init, signal });
      return { status: answer.status, etag: answer.headers.get("etag"), text: await textOf(answer, limit) };
    } catch (error) {
      throw new Unavailable(`${this.#url}${path} does not answer: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** A body that is not longer than `limit`. */
async function textOf(answer: Response, limit: number): Promise<string> {
  if (!answer.body) return "";
  const reader = answer.body.getReader();
  // One buffer: pieces of a byte each would take 50 times as much.
  let [size, bytes] = [0, new Uint8Array(FIRST_BUFFER)];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return fromBytes(bytes.subarray(0, size));
    const end = size + value.length;
    if (end > limit) {
      await reader.cancel();
      throw new Error(`the answer is longer than ${limit} bytes`);
    }
    if (end > bytes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * bytes.length));
      larger.set(bytes.subarray(0, size));
      bytes = larger;
    }
    bytes.set(value, size);
    size = end;
  }
}

/** What a log calls its newest event; whether it is one was judged before. */
function newest(found: string[]): { id: string; sequenceNumber: number } {
  const last = found.at(-1);
  const id = last === undefined ? "" : readObject(readEntry(last).text)["id"];
  must(typeof id === "string", "log: the newest event has no id");
  return { id, sequenceNumber: found.length - 1 };
}
