// A key log that follows its source: verified event by event, and stale when nothing is heard.

import { FutureEvent, OtherHead, Refused, Rollback, Stale } from "./errors.js";
import { Event } from "./event.js";
import { KeyLog, SKEW, type Anchor } from "./keylog.js";
import { BatchMemory, verifyEndorsement, verifyHead, verifySigned, type Reading, type Verified } from "./signed.js";
import { MESSAGE_TIMEOUT, pause, type LogSource, type Message } from "./source.js";

const RECONNECT_DELAYS = [100, 200, 500, 1000, 2000, 5000];

export interface FollowedOptions {
  /** How long the log is believed after it was last shown to be the newest, in milliseconds: 60,000 if absent. */
  maxStaleness?: number;
  /** How far an event may lie in the future, in milliseconds. */
  skew?: number;
  /** Is told what keeps the log from being followed. */
  onProblem?: (problem: Error) => void;
}

/**
 * Follows the log from `start` to `close`. Answers only while it is known to be the newest log as of
 * `maxStaleness` ago: a frozen feed must not hide a taint. Over gRPC the daemon's heartbeats say so, which its
 * socket's owner or TLS authenticates; over HTTP only a head statement does, from the time at which it was made,
 * so that a frozen mirror can't, unless it holds the active key itself. Events are verified all the same, and a
 * head, once seen, is never given up.
 */
export class FollowedLog {
  readonly #source: LogSource;
  readonly #log: KeyLog;
  readonly #maxStaleness: number;
  readonly #onProblem: (problem: Error) => void;
  readonly #memory = new BatchMemory();
  readonly #stopping = new AbortController();
  readonly #waiting = new Set<() => void>();
  #heardAt: number | null = null;
  #problem = "nothing was heard yet";
  #running: Promise<void> | null = null;

  constructor(source: LogSource, anchor: Anchor | string, options: FollowedOptions = {}) {
    this.#source = source;
    this.#log = new KeyLog(anchor, options.skew ?? SKEW);
    this.#maxStaleness = options.maxStaleness ?? 60_000;
    this.#onProblem = options.onProblem ?? (() => {});
  }

  start(): this {
    this.#running ??= this.#run();
    return this;
  }

  /** Ends the following. */
  async close(): Promise<void> {
    this.#stopping.abort();
    this.#notify();
    await this.#running;
  }

  get identity(): string {
    return this.#log.identity;
  }

  /** The newest verified event. Throws `Stale`. */
  head(): Event {
    return this.fresh().head;
  }

  /** The verified log, or `Stale`. It grows while one looks at it, and never changes otherwise. */
  fresh(): KeyLog {
    if (!this.#isFresh()) throw new Stale(`the key log is stale: ${this.#problem}`);
    return this.#log;
  }

  /** How many milliseconds ago the log was last known to be the newest; null if never. */
  age(): number | null {
    return this.#heardAt === null ? null : performance.now() - this.#heardAt;
  }

  #isFresh(): boolean {
    const age = this.age();
    return age !== null && age <= this.#maxStaleness && this.#log.events.length > 0;
  }

  /** Waits until the fresh log fulfils a condition; says whether it did within `timeout` milliseconds. */
  async wait(until: (log: KeyLog) => boolean, timeout: number): Promise<boolean> {
    const end = performance.now() + timeout;
    for (;;) {
      try {
        if (until(this.fresh())) return true;
      } catch (error) {
        if (!(error instanceof Stale)) throw error;
      }
      const left = end - performance.now();
      if (left <= 0 || this.#stopping.signal.aborted) return false;
      await this.changed(left);
    }
  }

  /** Waits until something was heard, at most `timeout` milliseconds. */
  changed(timeout: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeout);
      this.#waiting.add(done);
    });
  }

  /** A published endorsement that is valid now. Throws `Refused` or `Stale`. */
  async verifyEndorsement(
    text: string, expected: Omit<Reading, "memory"> & { purpose: string; key: string },
  ): Promise<Verified> {
    const reading = { ...expected, memory: this.#memory };
    return this.#still(await verifyEndorsement(text, this.fresh(), Date.now(), reading), expected.window);
  }

  /** A published signed payload that is valid now. Throws `Refused` or `Stale`. */
  async verifySigned(
    text: string, expected: Omit<Reading, "memory"> & { purpose?: string } = {},
  ): Promise<Verified> {
    const reading = { ...expected, memory: this.#memory };
    return this.#still(await verifySigned(text, this.fresh(), Date.now(), reading), expected.window);
  }

  /** The log may have moved while the signature was verified. */
  #still(verified: Verified, window?: number): Verified {
    this.fresh().live(verified.event.id, Date.now(), window ?? Infinity);
    return verified;
  }

  async #run(): Promise<void> {
    let attempt = 0;
    while (!this.#stopping.signal.aborted) {
      const heard = this.#heardAt;
      try {
        await this.#watch();
        this.#note(new Error("the source ended its feed"));
      } catch (error) {
        this.#note(error as Error);
      }
      attempt = this.#heardAt === heard ? attempt + 1 : 0;
      const delay = RECONNECT_DELAYS[Math.min(attempt, RECONNECT_DELAYS.length - 1)] as number;
      await pause(delay, this.#stopping.signal);
    }
  }

  #note(problem: Error): void {
    if (this.#stopping.signal.aborted) return;
    // After a rollback, a fork or a forgery nothing is taken until the source is right again.
    this.#problem = problem instanceof Refused ? `the source's log is refused: ${problem.message}` : problem.message;
    this.#onProblem(problem);
    this.#notify();
  }

  async #watch(): Promise<void> {
    const limit = this.#source.messageTimeout ?? MESSAGE_TIMEOUT;
    const silence = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, silence.signal]);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), limit);
    };
    heard();
    try {
      for await (const message of this.#source.watch(Math.max(0, this.#log.events.length - 1), signal)) {
        heard();
        await this.#take(message);
        if (signal.aborted) return;
      }
    } catch (error) {
      if (!silence.signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
    }
    if (silence.signal.aborted) throw new Error(`nothing was heard for ${limit / 1000} s`);
  }

  async #take(message: Message): Promise<void> {
    try {
      if ("event" in message) {
        const { text, signature } = message.event;
        const event = await Event.parse(text, signature);
        if (this.#log.extend(event, Date.now()) && event.sequenceNumber === this.#log.anchor.sequenceNumber) {
          this.#log.checkAnchor();
        }
      } else if ("head" in message) {
        if (this.#isOurs(message.head) && message.authenticated) this.#confirmed(0);
      } else if ("statement" in message) {
        await this.#takeStatement(message.statement);
      } else {
        this.#unproven(message.noStatement);
      }
    } catch (error) {
      // The head stays; the source is asked again for this event.
      if (error instanceof FutureEvent) this.#notify();
      throw error;
    }
    this.#notify();
  }

  /** Whether the source's newest event is ours; throws if it can't become so. */
  #isOurs({ id, sequenceNumber }: { id: string; sequenceNumber: number }): boolean {
    const ours = this.#log.events.at(-1);
    // Events are on their way.
    if (!ours || sequenceNumber > ours.sequenceNumber) return false;
    if (sequenceNumber < ours.sequenceNumber) {
      throw new Rollback(`the source ends before event ${ours.sequenceNumber}, which was verified`);
    }
    if (id !== ours.id) throw new Refused("the source names another head than the one that was verified");
    return true;
  }

  async #takeStatement(text: string): Promise<void> {
    if (this.#log.events.length === 0) return;
    const now = Date.now();
    const expected = { maxStaleness: this.#maxStaleness, skew: this.#log.skew };
    let issuedAt;
    try {
      issuedAt = await verifyHead(text, this.#log, now, expected);
    } catch (error) {
      // After an event the next statement takes some seconds.
      if (error instanceof OtherHead && this.#isFresh()) return;
      return this.#unproven(error as Error);
    }
    this.#confirmed(Math.max(0, now - issuedAt));
  }

  /** So many milliseconds ago our head was the newest event. */
  #confirmed(age: number): void {
    this.#log.checkAnchor();
    this.#heardAt = Math.max(performance.now() - age, this.#heardAt ?? -Infinity);
    this.#problem = `nothing was heard for ${this.#maxStaleness / 1000} s`;
  }

  /** The log is good but not shown to be the newest, so it is not fetched anew. Said once. */
  #unproven(problem: Error): void {
    if (problem.message === this.#problem) return;
    this.#problem = problem.message;
    this.#onProblem(problem);
  }

  #notify(): void {
    for (const done of [...this.#waiting]) done();
  }
}
