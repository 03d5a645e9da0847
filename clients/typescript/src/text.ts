// JSON whose exact text counts: values are cut out by a real parser, numbers stay text.

import { Refused, must } from "./errors.js";

/** What a payload may be deep. */
const MAX_LEVELS = 32;

/** What anything may be deep, so that no text exhausts the stack. */
const MAX_DEPTH = 128;

/** What stands around an event in a published log, its signature included: what is shorter is no entry. */
const MIN_ENTRY = 116;

/** An entry of the longest event has 523 characters; the rest is room for blanks. */
const MAX_ENTRY = 4096;

const BLANKS = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const ESCAPED: Record<string, string> = {
  '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t",
};

/** A number as it was written. */
export class Numeral {
  constructor(readonly text: string) {}
}

export type Value = string | boolean | null | Numeral | Value[] | { [name: string]: Value };

/** Where a value stands in a text. */
interface Place {
  start: number;
  end: number;
}

class Scanner {
  at = 0;
  /** The places of the outermost value's elements or members. */
  readonly places = new Map<string | number, Place>();
  deepest = 0;
  blanks = false;
  /** Where the value that is read must have ended. */
  private limit = Infinity;

  constructor(readonly text: string) {
    must(!/\p{Surrogate}/u.test(text), "JSON: lone surrogate");
  }

  whole(): Value {
    this.skipBlanks();
    const value = this.value(1);
    this.end();
    return value;
  }

  /** The texts of an array's elements, up to the first that is too short for an entry of a log. */
  *entries(): Generator<string> {
    this.skipBlanks();
    must(this.text[this.at] === "[", "JSON: not an array");
    for (const _ of this.items(1, "]")) {
      const start = this.at;
      this.limit = start + MAX_ENTRY;
      this.value(2);
      this.mustBeWithin();
      yield detached(this.text.slice(start, this.at));
      if (this.at - start < MIN_ENTRY) return;
    }
    this.end();
  }

  private end(): void {
    this.skipBlanks();
    must(this.at === this.text.length, "JSON: something follows the value");
  }

  /** Is asked before anything that takes memory. */
  private mustBeWithin(): void {
    must(this.at <= this.limit, `log: an entry has more than ${MAX_ENTRY} characters`);
  }

  private value(level: number): Value {
    this.mustBeWithin();
    const first = this.text[this.at];
    if (first === "{") return this.object(level);
    if (first === "[") return this.array(level);
    if (first === '"') return this.string();
    for (const [word, value] of [["true", true], ["false", false], ["null", null]] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    NUMBER.lastIndex = this.at;
    const number = NUMBER.exec(this.text)?.[0];
    must(number !== undefined, `JSON: a value expected at ${this.at}`);
    this.at += number.length;
    return new Numeral(number);
  }

  private object(level: number): Value {
    const members: { [name: string]: Value } = Object.create(null);
    for (const _ of this.items(level, "}")) {
      must(this.text[this.at] === '"', "JSON: a name expected");
      const name = this.string();
      must(!(name in members), "JSON: duplicate name");
      this.skipBlanks();
      must(this.text[this.at] === ":", "JSON: a colon expected");
      this.at += 1;
      this.skipBlanks();
      members[name] = this.placed(level, name);
    }
    return members;
  }

  private array(level: number): Value {
    const elements: Value[] = [];
    for (const _ of this.items(level, "]")) elements.push(this.placed(level, elements.length));
    return elements;
  }

  private placed(level: number, name: string | number): Value {
    const start = this.at;
    const value = this.value(level + 1);
    if (level === 1) this.places.set(name, { start, end: this.at });
    return value;
  }

  /** Goes through what stands between two brackets. Who asks for an item has to read it before the next one. */
  private *items(level: number, close: string): Generator<void> {
    must(level <= MAX_DEPTH, "JSON: too many levels");
    this.deepest = Math.max(this.deepest, level);
    this.at += 1;
    this.skipBlanks();
    if (this.text[this.at] !== close) {
      for (;;) {
        yield;
        this.skipBlanks();
        if (this.text[this.at] !== ",") break;
        this.at += 1;
        this.skipBlanks();
      }
    }
    must(this.text[this.at] === close, `JSON: ${close} expected`);
    this.at += 1;
  }

  private string(): string {
    const { text } = this;
    let from = (this.at += 1);
    let value = "";
    for (;;) {
      const unit = text.charCodeAt(this.at);
      must(unit >= 0x20, "JSON: a string that does not end, or a control character");
      if (unit === 0x22) break;
      if (unit !== 0x5c) {
        this.at += 1;
        continue;
      }
      value += text.slice(from, this.at) + this.escape();
      from = this.at;
    }
    value += text.slice(from, this.at);
    this.at += 1;
    must(!/\p{Surrogate}/u.test(value), "JSON: lone surrogate");
    return value;
  }

  private escape(): string {
    this.mustBeWithin();
    const letter = this.text[this.at + 1] ?? "";
    if (letter === "u") {
      const digits = this.text.slice(this.at + 2, this.at + 6);
      must(/^[0-9a-fA-F]{4}$/.test(digits), "JSON: a broken escape");
      this.at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const meant = ESCAPED[letter];
    must(meant !== undefined, "JSON: a broken escape");
    this.at += 2;
    return meant;
  }

  private skipBlanks(): void {
    BLANKS.lastIndex = this.at;
    BLANKS.test(this.text);
    this.blanks ||= BLANKS.lastIndex > this.at;
    this.at = BLANKS.lastIndex;
  }
}

function isObject(value: Value): value is { [name: string]: Value } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Numeral);
}

/** The exact text of each element of an array. */
export function elements(text: string): string[] {
  const scanner = new Scanner(text);
  must(Array.isArray(scanner.whole()), "JSON: not an array");
  return [...scanner.places.values()].map(({ start, end }) => text.slice(start, end));
}

/**
 * The exact text of each entry of a published log, up to the first that is too short to be one. Each is read when it is
 * asked for, so what follows a refused one costs nothing, and no entry is long: a hostile log takes little more memory
 * than its text.
 */
export function entries(text: string): Generator<string> {
  return new Scanner(text).entries();
}

/** The same text in memory of its own: a piece of a text keeps all of it. */
function detached(text: string): string {
  return fromBytes(new TextEncoder().encode(text));
}

/** The exact text of each member's value of an object, in its order. */
export function members(text: string): Map<string, string> {
  const scanner = new Scanner(text);
  must(isObject(scanner.whole()), "JSON: not an object");
  const cut = [...scanner.places].map(([name, { start, end }]) => [String(name), text.slice(start, end)] as const);
  return new Map(cut);
}

/** An object's values, without a prototype. */
export function readObject(text: string): { [name: string]: Value } {
  const value = new Scanner(text).whole();
  must(isObject(value), "JSON: not an object");
  return value;
}

/** What may be signed: one object, compact, at most 32 levels deep. */
export function readPayload(text: string): { [name: string]: Value } {
  const scanner = new Scanner(text);
  const value = scanner.whole();
  must(isObject(value), "payload: not an object");
  must(!scanner.blanks, "payload: blank outside strings");
  must(scanner.deepest <= MAX_LEVELS, "payload: more than 32 levels");
  return value;
}

/** The value of a string's text that has nothing escaped. */
export function plain(text: string | undefined, what: string): string {
  must(text !== undefined && /^"[^"\\]*"$/.test(text), `${what}: not a plain string`);
  return text.slice(1, -1);
}

/** A number as the formats write it: no sign, fraction, exponent or leading zero. A string is none. */
export function integer(value: Value | undefined, what: string): number {
  const right = value instanceof Numeral && /^(?:0|[1-9][0-9]{0,7})$/.test(value.text);
  must(right, `${what}: no integer in its one form`);
  return Number(value.text);
}

/** Whether an object has exactly these members in this order. */
export function named(value: Iterable<string>, names: readonly string[]): boolean {
  const found = [...value];
  return found.length === names.length && found.every((name, at) => name === names[at]);
}

/** Bytes as text: UTF-8 and nothing else. A byte order mark stays and is refused as no JSON. */
export function fromBytes(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("not UTF-8");
  }
}
