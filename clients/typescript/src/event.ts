// One event of the key log: its one text, its id and its signature. docs/formats.md, section 2.

import { digest, digestBytes, milliseconds, point, verify } from "./encoding.js";
import { must } from "./errors.js";
import { Numeral, integer, members, named, plain, readObject, type Value } from "./text.js";

const PLACEHOLDER = "#".repeat(44);
const FIELDS = [
  "id", "prefix", "sequenceNumber", "previous", "createdAt", "taintPrevious", "purpose", "publicKey",
  "rotationHash",
] as const;

/** The purpose that every event carries, reserved for events. */
export const PURPOSE = "key-authorization";

type Fields = { [name: string]: Value };

/**
 * An event that is canonical, names itself rightly and is signed by the key it reveals: `Event.parse` makes
 * no other. Times are milliseconds since 1970.
 */
export class Event {
  private constructor(
    readonly text: string,
    readonly signature: string,
    readonly id: string,
    readonly prefix: string,
    readonly sequenceNumber: number,
    readonly previous: string | null,
    readonly createdAt: number,
    readonly taintPrevious: boolean,
    readonly publicKey: string,
    readonly rotationHash: string,
  ) {}

  /** Everything that can be said of an event without its neighbours, or `Refused`. */
  static async parse(text: string, signature: string): Promise<Event> {
    const fields = readObject(text);
    const number = integer(fields["sequenceNumber"], "event: sequenceNumber");
    const tainted = "taintPrevious" in fields;
    const expected = FIELDS.filter(
      (name) => (name !== "previous" || number > 0) && (name !== "taintPrevious" || tainted),
    );
    must(named(Object.keys(fields), expected), "event: fields");
    must(!tainted || (fields["taintPrevious"] === true && number > 0), "event: taintPrevious");
    must(canonical(fields) === text, "event: not in canonical form");
    for (const name of ["id", "prefix", "previous", "rotationHash"]) {
      if (name in fields) digestBytes(fields[name]);
    }
    const unnamed: Fields = { ...fields, id: PLACEHOLDER };
    if (number === 0) {
      unnamed["prefix"] = PLACEHOLDER;
      must(fields["prefix"] === fields["id"], "event 0: prefix is not its id");
    }
    must(digest(canonical(unnamed)) === fields["id"], "event: id is not the digest of its text");
    must(fields["purpose"] === PURPOSE, "event: purpose");
    const publicKey = string(fields["publicKey"]);
    point(publicKey);
    must(digest(publicKey) !== fields["rotationHash"], "event: commits to its own key");
    const createdAt = milliseconds(fields["createdAt"]);
    await verify(publicKey, text, signature);
    return new Event(
      text, signature, string(fields["id"]), string(fields["prefix"]), number,
      number === 0 ? null : string(fields["previous"]), createdAt, tainted, publicKey,
      string(fields["rotationHash"]),
    );
  }

  /** Reads one entry of a published log. */
  static async read(entry: string): Promise<Event> {
    const { text, signature } = readEntry(entry);
    return Event.parse(text, signature);
  }
}

/** An event's text and its signature from `{"payload":<event>,"signature":"0I…"}`; neither is verified. */
export function readEntry(entry: string): { text: string; signature: string } {
  const parts = members(entry);
  const both = parts.size === 2 && parts.has("payload") && parts.has("signature");
  must(both, "log: members of an entry");
  return { text: parts.get("payload") as string, signature: plain(parts.get("signature"), "log: signature") };
}

/** The one text of the values. */
function canonical(fields: Fields): string {
  const value = (name: string): string => {
    const found = fields[name];
    if (name === "sequenceNumber" && found instanceof Numeral) return found.text;
    return name === "taintPrevious" ? "true" : `"${string(found)}"`;
  };
  const members = FIELDS.filter((name) => name in fields).map((name) => `"${name}":${value(name)}`);
  return `{${members.join(",")}}`;
}

function string(value: Value | undefined): string {
  must(typeof value === "string", "event: a member is no string");
  return value;
}
