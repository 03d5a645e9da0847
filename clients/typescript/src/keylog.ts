// The key log: the chain of its events, and which generations are live. docs/formats.md, section 2.

import { digest, digestBytes } from "./encoding.js";
import { Fork, FutureEvent, Refused, Rollback, must } from "./errors.js";
import { Event } from "./event.js";
import { Numeral, entries, integer } from "./text.js";

/** In milliseconds, as all times and windows are. */
export const HOUR = 3_600_000;

/** How far an event may lie ahead of `now`. */
export const SKEW = 5000;

/** What a reader knows beforehand: an identity, and an event that it has seen, if any. */
export class Anchor {
  private constructor(
    readonly identity: string,
    readonly sequenceNumber: number | null,
    readonly eventId: string | null,
  ) {}

  /** `E…` or `E…@<sequence>:<event id>`. */
  static parse(text: string): Anchor {
    const at = text.indexOf("@");
    const identity = at < 0 ? text : text.slice(0, at);
    digestBytes(identity);
    if (at < 0) return new Anchor(identity, null, null);
    const known = text.slice(at + 1);
    const colon = known.indexOf(":");
    must(colon >= 0, "anchor: not <sequence>:<event id>");
    const number = integer(new Numeral(known.slice(0, colon)), "anchor: sequence number");
    const eventId = known.slice(colon + 1);
    digestBytes(eventId);
    must(number > 0 || eventId === identity, "anchor: event 0 has the identity as its id");
    return new Anchor(identity, number, eventId);
  }
}

/** A verified key log of the expected identity. It only grows: `extend` verifies before it appends. */
export class KeyLog {
  readonly anchor: Anchor;
  readonly #events: Event[] = [];
  readonly #numberOfId = new Map<string, number>();
  readonly #numberOfKey = new Map<string, number>();
  /** Generations tainted by a valid event that still lay in the future when it came. */
  readonly #taintedAhead = new Set<string>();

  /** `skew` is how far an event may lie ahead of `now`, in milliseconds. */
  constructor(anchor: Anchor | string, readonly skew = SKEW) {
    this.anchor = typeof anchor === "string" ? Anchor.parse(anchor) : anchor;
  }

  /** Verifies a published log, a JSON array of events, whole. */
  static async parse(text: string, anchor: Anchor | string, now: number, skew = SKEW): Promise<KeyLog> {
    const log = new KeyLog(anchor, skew);
    for (const event of await readEvents(text)) log.append(event, now);
    must(log.#events.length > 0, "log: empty");
    log.checkAnchor();
    return log;
  }

  get identity(): string {
    return this.anchor.identity;
  }

  /** All events; the index is the sequence number. */
  get events(): readonly Event[] {
    return this.#events;
  }

  /** The newest event. A log that was parsed has one. */
  get head(): Event {
    const head = this.#events.at(-1);
    must(head, "log: empty");
    return head;
  }

  /** Refuses a log without the event that the reader has seen before. */
  checkAnchor(): void {
    const { sequenceNumber: number, eventId } = this.anchor;
    if (number === null) return;
    const found = this.#events[number];
    if (!found) throw new Rollback(`log: ends before the known event ${number}`);
    if (found.id !== eventId) throw new Fork(`log: event ${number} is not the known one`);
  }

  /** Appends the next event; an event that the log has already is refused, too. */
  append(event: Event, now: number): void {
    must(event.sequenceNumber === this.#events.length, "log: order of sequence numbers");
    this.extend(event, now);
  }

  /** Appends the next event; says whether it was new. A known event again is no fault. */
  extend(event: Event, now: number): boolean {
    const number = event.sequenceNumber;
    const known = this.#events[number];
    if (known) {
      if (known.text === event.text) return false;
      // Only what the committed key signed is a fork; anything else is a bad event.
      this.#checkFollows(event, this.#events[number - 1]);
      throw new Fork(`log: another event ${number} than the known one`);
    }
    must(number === this.#events.length, "log: order of sequence numbers");
    this.#checkFollows(event, this.#events.at(-1));
    const earlier = this.#numberOfKey.get(event.publicKey);
    must(earlier === undefined, `log: the key was revealed before, by event ${earlier}`);
    if (number === this.anchor.sequenceNumber && event.id !== this.anchor.eventId) {
      throw new Fork(`log: event ${number} is not the known one`);
    }
    if (event.createdAt > now + this.skew) {
      // Its mark counts at once: who is wrong about the time may be right about the theft.
      if (event.taintPrevious) this.#taintedAhead.add(event.previous as string);
      throw new FutureEvent("log: an event from the future");
    }
    this.#events.push(event);
    this.#numberOfId.set(event.id, number);
    this.#numberOfKey.set(event.publicKey, number);
    return true;
  }

  #checkFollows(event: Event, before: Event | undefined): void {
    must(event.prefix === this.identity, "log: another identity");
    if (!before) return;
    must(event.previous === before.id, "log: previous is not the event before");
    must(digest(event.publicKey) === before.rotationHash, "log: the key is not the committed one");
    must(event.createdAt > before.createdAt, "log: time does not grow");
  }

  /** Whether the log has a generation, live or not. */
  has(generationId: string): boolean {
    return this.#numberOfId.has(generationId);
  }

  /** The event that revealed a generation, if that generation is live in a look-back window. */
  live(generationId: string, now: number, window: number): Event {
    const number = this.#numberOfId.get(generationId);
    if (number === undefined) throw new Refused("generation: not in the log");
    must(!this.#taintedAhead.has(generationId), "generation: tainted");
    const successor = this.#events[number + 1];
    if (successor) {
      must(!successor.taintPrevious, "generation: tainted");
      must(now <= successor.createdAt + window, "generation: replaced before the window");
    }
    return this.#events[number] as Event;
  }
}

/** The events of a published log, each verified alone. */
export async function readEvents(text: string): Promise<Event[]> {
  const events: Event[] = [];
  for (const entry of entries(text)) events.push(await Event.read(entry));
  return events;
}
