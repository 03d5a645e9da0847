// Where a followed log and endorsements come from. `grpc.ts` and `http.ts` are the two kinds.

/**
 * An event as it was received; which event the source calls its newest, which is a sign of life if the
 * source is authenticated; a head statement, which is one of a source that need not be trusted; or why that
 * has none.
 */
export type Message =
  | { event: { text: string; signature: string } }
  | { head: { id: string; sequenceNumber: number }; authenticated: boolean }
  | { statement: string }
  | { noStatement: Error };

/** hsmd's heartbeats come every 5 s: after two and a bit the feed is dead. In milliseconds. */
export const MESSAGE_TIMEOUT = 12_000;

export interface LogSource {
  /** After how many milliseconds without a message the source counts as dead: 12,000 if absent. */
  readonly messageTimeout?: number;
  /**
   * The events from number `from` on, each new one as it comes, and signs of life, until `signal` or a
   * failure. `from` is 0 or the number of the newest event that the reader has.
   */
  watch(from: number, signal: AbortSignal): AsyncIterable<Message>;
}

export interface EndorsementSource {
  /** The published text of a new endorsement; `ttl` in milliseconds. */
  endorse(purpose: string, publicKey: string, ttl: number): Promise<string>;
}

/** Resolves after `ms` or when the signal comes. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
