// Keeps a service's key endorsed: before the endorsement expires, and at once when the log moves.

import { generateKey, milliseconds, publicKeyText, sign } from "./encoding.js";
import { Stale, Unavailable } from "./errors.js";
import type { FollowedLog } from "./followed.js";
import { pause, type EndorsementSource } from "./source.js";
import { members, readObject } from "./text.js";
import { token } from "./token.js";

const RETRY_DELAYS = [100, 200, 500, 1000, 2000, 5000];

/** An endorsement as it is published, whole and verified. */
export interface Endorsement {
  text: string;
  publicKey: string;
  generationId: string;
  expiration: number;
}

export interface EndorserOptions {
  purpose: string;
  /** How long an endorsement is asked for, in milliseconds. */
  ttl: number;
  /** Is called with each new endorsement, before `current` gives it. */
  publish?: (endorsement: Endorsement) => void | Promise<void>;
  /** A key pair on P-256 instead of a new one. */
  keyPair?: CryptoKeyPair;
  /** Is told what keeps the key from being endorsed. */
  onProblem?: (problem: Error) => void;
}

/**
 * Makes a key, has it endorsed, and keeps it so from `start` to `close`. An endorsement whose generation is
 * no longer the head is renewed at once, so a taint needs no restart.
 */
export class Endorser {
  readonly #stopping = new AbortController();
  #current: Endorsement | null = null;
  #renewAt = 0;
  #problem = "not endorsed yet";
  #running: Promise<void> | null = null;

  private constructor(
    private readonly source: EndorsementSource,
    private readonly log: FollowedLog,
    private readonly options: EndorserOptions,
    private readonly privateKey: CryptoKey,
    readonly publicKey: string,
  ) {}

  static async start(source: EndorsementSource, log: FollowedLog, options: EndorserOptions): Promise<Endorser> {
    const pair = options.keyPair ?? (await generateKey());
    const publicKey = await publicKeyText(pair.publicKey);
    const endorser = new Endorser(source, log, options, pair.privateKey, publicKey);
    endorser.#running = endorser.#run();
    return endorser;
  }

  /** Ends the renewals. The key is forgotten with this object. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** The endorsement, if it is valid now; else throws `Unavailable`, with the reason. */
  async current(): Promise<Endorsement> {
    const current = this.#current;
    if (!current) throw new Unavailable(`the key is not endorsed: ${this.#problem}`);
    try {
      await this.log.verifyEndorsement(current.text, { purpose: this.options.purpose, key: this.publicKey });
    } catch (error) {
      throw new Unavailable(`the key is not endorsed: ${(error as Error).message}`, { cause: error });
    }
    return current;
  }

  /** The first endorsement that verifies within `timeout` milliseconds, or `Unavailable`. */
  async wait(timeout: number): Promise<Endorsement> {
    const end = performance.now() + timeout;
    for (;;) {
      try {
        return await this.current();
      } catch (error) {
        if (performance.now() >= end) throw error;
      }
      await pause(50, this.#stopping.signal);
    }
  }

  /** Signs with the endorsed key. Throws `Unavailable` while it is not endorsed. */
  async sign(message: string): Promise<string> {
    await this.current();
    return sign(this.privateKey, message);
  }

  /**
   * A JWT (ES256) whose `kid` is the key's text, for a key endorsed for `jwt` and published where verifiers
   * fetch their JWKS. It lives for `lifetime` milliseconds, and never longer than the endorsement.
   */
  async signToken(claims: object, lifetime = 15 * 60_000): Promise<string> {
    const { expiration } = await this.current();
    return token(this.privateKey, this.publicKey, claims, lifetime, expiration);
  }

  async #run(): Promise<void> {
    let attempt = 0;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (!this.#due()) {
        await Promise.race([this.log.changed(250), pause(250, signal)]);
        continue;
      }
      try {
        await this.#endorse();
        attempt = 0;
      } catch (error) {
        this.#problem = (error as Error).message;
        this.options.onProblem?.(error as Error);
        await pause(RETRY_DELAYS[Math.min(attempt, RETRY_DELAYS.length - 1)] as number, signal);
        attempt += 1;
      }
    }
  }

  #due(): boolean {
    if (!this.#current || performance.now() >= this.#renewAt) return true;
    try {
      return this.log.head().id !== this.#current.generationId;
    } catch (error) {
      if (error instanceof Stale) return false;
      throw error;
    }
  }

  async #endorse(): Promise<void> {
    const { purpose, ttl, publish } = this.options;
    const asked = performance.now();
    const text = await this.source.endorse(purpose, this.publicKey, ttl);
    const generationId = generation(text);
    // The reply may name a generation whose event the log is about to bring.
    await this.log.wait((log) => log.has(generationId), 5000);
    const verified = await this.log.verifyEndorsement(text, { purpose, key: this.publicKey });
    const expiration = milliseconds(verified.values["expiration"]);
    const endorsement = { text, publicKey: this.publicKey, generationId: verified.event.id, expiration };
    await publish?.(endorsement);
    this.#current = endorsement;
    // The last third is a reserve for outages; a tenth keeps a fleet from renewing together.
    this.#renewAt = asked + ttl * (2 / 3 - Math.random() / 10);
  }
}

/** The generation that a plain endorsement names. */
function generation(text: string): string {
  const body = members(text).get("body") ?? "{}";
  return String(readObject(members(body).get("hsm") ?? "{}")["generationId"]);
}
