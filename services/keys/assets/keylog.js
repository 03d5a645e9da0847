// Built from clients/typescript/src/page.ts by npm run page; scripts/test compares.

// src/errors.ts
var Refused = class extends Error {
  name = "Refused";
};
var Rollback = class extends Refused {
  name = "Rollback";
};
var Fork = class extends Refused {
  name = "Fork";
};
var FutureEvent = class extends Refused {
  name = "FutureEvent";
};
var OtherHead = class extends Refused {
  name = "OtherHead";
};
function must(condition, rule) {
  if (!condition) throw new Refused(rule);
}

// src/encoding.ts
import { blake3 } from "./vendor/noble-hashes/blake3.js";

// src/p256.ts
var P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
var B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
var ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
function uncompressed(point2) {
  must(point2[0] === 2 || point2[0] === 3, "public key: not a compressed point");
  const x = integerOf(point2.subarray(1));
  const square = ((x ** 3n - 3n * x + B) % P + P) % P;
  let y = power(square, (P + 1n) / 4n);
  must(x < P && y * y % P === square, "public key: the point is not on the curve");
  if ((y & 1n) !== BigInt(point2[0] & 1)) y = P - y;
  const raw = new Uint8Array(65);
  raw[0] = 4;
  raw.set(point2.subarray(1), 1);
  raw.set(octets(y), 33);
  return raw;
}
function integerOf(bytes) {
  return BigInt("0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""));
}
function power(base, exponent) {
  let result = 1n;
  for (let bit = exponent; bit > 0n; bit >>= 1n) {
    if (bit & 1n) result = result * base % P;
    base = base * base % P;
  }
  return result;
}
function octets(number) {
  const hex = number.toString(16).padStart(64, "0");
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

// src/encoding.ts
var ECDSA = { name: "ECDSA", hash: "SHA-256" };
var P256 = { name: "ECDSA", namedCurve: "P-256" };
var REMEMBERED_KEYS = 256;
var utf8 = new TextEncoder();
function decode(text, what, code, lead, size) {
  must(typeof text === "string", `${what}: not a string`);
  must(text.startsWith(code), `${what}: wrong code`);
  const encoded = lead > 0 ? "A".repeat(code.length) + text.slice(code.length) : text.slice(code.length);
  must(encoded.length === (lead + size) * 4 / 3, `${what}: wrong length`);
  must(/^[A-Za-z0-9_-]*$/.test(encoded), `${what}: not URL-safe base64`);
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  must(bytes.subarray(0, lead).every((byte) => byte === 0), `${what}: lead bits are not zero`);
  return bytes.slice(lead);
}
function encode(bytes, code, lead) {
  const binary = String.fromCharCode(...new Uint8Array(lead), ...bytes);
  const text = btoa(binary).replaceAll("+", "-").replaceAll("/", "_");
  return code + (lead > 0 ? text.slice(code.length) : text);
}
function digest(data) {
  return digestText(hash(typeof data === "string" ? utf8.encode(data) : data));
}
function hash(...parts) {
  const hasher = blake3.create({});
  for (const part of parts) hasher.update(typeof part === "string" ? utf8.encode(part) : part);
  return hasher.digest();
}
function digestText(bytes) {
  return encode(bytes, "E", 1);
}
function digestBytes(text) {
  return decode(text, "digest", "E", 1, 32);
}
function point(text) {
  return uncompressed(decode(text, "public key", "1AAI", 0, 33));
}
var imported = /* @__PURE__ */ new Map();
function publicKey(text) {
  let key = imported.get(text);
  if (!key) {
    key = crypto.subtle.importKey("raw", point(text), P256, false, ["verify"]);
    imported.set(text, key);
    const oldest = imported.keys().next().value;
    if (imported.size > REMEMBERED_KEYS && oldest !== void 0) imported.delete(oldest);
  }
  return key;
}
async function verify(key, message, signature) {
  const bytes = signatureBytes(signature);
  const imported2 = await publicKey(key);
  const good = await crypto.subtle.verify(ECDSA, imported2, bytes, utf8.encode(message));
  if (!good) throw new Refused("signature: not made by this key over this text");
}
function signatureBytes(signature) {
  const bytes = new Uint8Array(decode(signature, "signature", "0I", 2, 64));
  for (const half of [bytes.subarray(0, 32), bytes.subarray(32)]) {
    const scalar = integerOf(half);
    must(scalar > 0n && scalar < ORDER, "signature: r or s out of range");
  }
  return bytes;
}
function milliseconds(text) {
  const form = typeof text === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text);
  must(form, "time: not of the form 2026-11-22T11:22:33.044Z");
  const date = new Date(text);
  const real = text >= "0001" && !Number.isNaN(date.getTime()) && date.toISOString() === text;
  must(real, `time: ${text} is not in the calendar`);
  return date.getTime();
}

// src/text.ts
var MAX_LEVELS = 32;
var MAX_DEPTH = 128;
var MIN_ENTRY = 116;
var MAX_ENTRY = 4096;
var BLANKS = /[ \t\r\n]*/y;
var NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
var ESCAPED = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "	"
};
var Numeral = class {
  constructor(text) {
    this.text = text;
  }
  text;
};
var Scanner = class {
  constructor(text) {
    this.text = text;
    must(!/\p{Surrogate}/u.test(text), "JSON: lone surrogate");
  }
  text;
  at = 0;
  /** The places of the outermost value's elements or members. */
  places = /* @__PURE__ */ new Map();
  deepest = 0;
  blanks = false;
  /** Where the value that is read must have ended. */
  limit = Infinity;
  whole() {
    this.skipBlanks();
    const value = this.value(1);
    this.end();
    return value;
  }
  /** The texts of an array's elements, up to the first that is too short for an entry of a log. */
  *entries() {
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
  end() {
    this.skipBlanks();
    must(this.at === this.text.length, "JSON: something follows the value");
  }
  /** Is asked before anything that takes memory. */
  mustBeWithin() {
    must(this.at <= this.limit, `log: an entry has more than ${MAX_ENTRY} characters`);
  }
  value(level) {
    this.mustBeWithin();
    const first = this.text[this.at];
    if (first === "{") return this.object(level);
    if (first === "[") return this.array(level);
    if (first === '"') return this.string();
    for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    NUMBER.lastIndex = this.at;
    const number = NUMBER.exec(this.text)?.[0];
    must(number !== void 0, `JSON: a value expected at ${this.at}`);
    this.at += number.length;
    return new Numeral(number);
  }
  object(level) {
    const members2 = /* @__PURE__ */ Object.create(null);
    for (const _ of this.items(level, "}")) {
      must(this.text[this.at] === '"', "JSON: a name expected");
      const name = this.string();
      must(!(name in members2), "JSON: duplicate name");
      this.skipBlanks();
      must(this.text[this.at] === ":", "JSON: a colon expected");
      this.at += 1;
      this.skipBlanks();
      members2[name] = this.placed(level, name);
    }
    return members2;
  }
  array(level) {
    const elements2 = [];
    for (const _ of this.items(level, "]")) elements2.push(this.placed(level, elements2.length));
    return elements2;
  }
  placed(level, name) {
    const start = this.at;
    const value = this.value(level + 1);
    if (level === 1) this.places.set(name, { start, end: this.at });
    return value;
  }
  /** Goes through what stands between two brackets. Who asks for an item has to read it before the next one. */
  *items(level, close) {
    must(level <= MAX_DEPTH, "JSON: too many levels");
    this.deepest = Math.max(this.deepest, level);
    this.at += 1;
    this.skipBlanks();
    if (this.text[this.at] !== close) {
      for (; ; ) {
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
  string() {
    const { text } = this;
    let from = this.at += 1;
    let value = "";
    for (; ; ) {
      const unit = text.charCodeAt(this.at);
      must(unit >= 32, "JSON: a string that does not end, or a control character");
      if (unit === 34) break;
      if (unit !== 92) {
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
  escape() {
    this.mustBeWithin();
    const letter = this.text[this.at + 1] ?? "";
    if (letter === "u") {
      const digits = this.text.slice(this.at + 2, this.at + 6);
      must(/^[0-9a-fA-F]{4}$/.test(digits), "JSON: a broken escape");
      this.at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const meant = ESCAPED[letter];
    must(meant !== void 0, "JSON: a broken escape");
    this.at += 2;
    return meant;
  }
  skipBlanks() {
    BLANKS.lastIndex = this.at;
    BLANKS.test(this.text);
    this.blanks ||= BLANKS.lastIndex > this.at;
    this.at = BLANKS.lastIndex;
  }
};
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Numeral);
}
function elements(text) {
  const scanner = new Scanner(text);
  must(Array.isArray(scanner.whole()), "JSON: not an array");
  return [...scanner.places.values()].map(({ start, end }) => text.slice(start, end));
}
function entries(text) {
  return new Scanner(text).entries();
}
function detached(text) {
  return fromBytes(new TextEncoder().encode(text));
}
function members(text) {
  const scanner = new Scanner(text);
  must(isObject(scanner.whole()), "JSON: not an object");
  const cut = [...scanner.places].map(([name, { start, end }]) => [String(name), text.slice(start, end)]);
  return new Map(cut);
}
function readObject(text) {
  const value = new Scanner(text).whole();
  must(isObject(value), "JSON: not an object");
  return value;
}
function readPayload(text) {
  const scanner = new Scanner(text);
  const value = scanner.whole();
  must(isObject(value), "payload: not an object");
  must(!scanner.blanks, "payload: blank outside strings");
  must(scanner.deepest <= MAX_LEVELS, "payload: more than 32 levels");
  return value;
}
function plain(text, what) {
  must(text !== void 0 && /^"[^"\\]*"$/.test(text), `${what}: not a plain string`);
  return text.slice(1, -1);
}
function integer(value, what) {
  const right = value instanceof Numeral && /^(?:0|[1-9][0-9]{0,7})$/.test(value.text);
  must(right, `${what}: no integer in its one form`);
  return Number(value.text);
}
function named(value, names) {
  const found = [...value];
  return found.length === names.length && found.every((name, at) => name === names[at]);
}
function fromBytes(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("not UTF-8");
  }
}

// src/event.ts
var PLACEHOLDER = "#".repeat(44);
var FIELDS = [
  "id",
  "prefix",
  "sequenceNumber",
  "previous",
  "createdAt",
  "taintPrevious",
  "purpose",
  "publicKey",
  "rotationHash"
];
var PURPOSE = "key-authorization";
var Event = class _Event {
  constructor(text, signature, id, prefix, sequenceNumber, previous, createdAt, taintPrevious, publicKey2, rotationHash) {
    this.text = text;
    this.signature = signature;
    this.id = id;
    this.prefix = prefix;
    this.sequenceNumber = sequenceNumber;
    this.previous = previous;
    this.createdAt = createdAt;
    this.taintPrevious = taintPrevious;
    this.publicKey = publicKey2;
    this.rotationHash = rotationHash;
  }
  text;
  signature;
  id;
  prefix;
  sequenceNumber;
  previous;
  createdAt;
  taintPrevious;
  publicKey;
  rotationHash;
  /** Everything that can be said of an event without its neighbours, or `Refused`. */
  static async parse(text, signature) {
    const fields = readObject(text);
    const number = integer(fields["sequenceNumber"], "event: sequenceNumber");
    const tainted = "taintPrevious" in fields;
    const expected = FIELDS.filter(
      (name) => (name !== "previous" || number > 0) && (name !== "taintPrevious" || tainted)
    );
    must(named(Object.keys(fields), expected), "event: fields");
    must(!tainted || fields["taintPrevious"] === true && number > 0, "event: taintPrevious");
    must(canonical(fields) === text, "event: not in canonical form");
    for (const name of ["id", "prefix", "previous", "rotationHash"]) {
      if (name in fields) digestBytes(fields[name]);
    }
    const unnamed = { ...fields, id: PLACEHOLDER };
    if (number === 0) {
      unnamed["prefix"] = PLACEHOLDER;
      must(fields["prefix"] === fields["id"], "event 0: prefix is not its id");
    }
    must(digest(canonical(unnamed)) === fields["id"], "event: id is not the digest of its text");
    must(fields["purpose"] === PURPOSE, "event: purpose");
    const publicKey2 = string(fields["publicKey"]);
    point(publicKey2);
    must(digest(publicKey2) !== fields["rotationHash"], "event: commits to its own key");
    const createdAt = milliseconds(fields["createdAt"]);
    await verify(publicKey2, text, signature);
    return new _Event(
      text,
      signature,
      string(fields["id"]),
      string(fields["prefix"]),
      number,
      number === 0 ? null : string(fields["previous"]),
      createdAt,
      tainted,
      publicKey2,
      string(fields["rotationHash"])
    );
  }
  /** Reads one entry of a published log. */
  static async read(entry) {
    const { text, signature } = readEntry(entry);
    return _Event.parse(text, signature);
  }
};
function readEntry(entry) {
  const parts = members(entry);
  const both = parts.size === 2 && parts.has("payload") && parts.has("signature");
  must(both, "log: members of an entry");
  return { text: parts.get("payload"), signature: plain(parts.get("signature"), "log: signature") };
}
function canonical(fields) {
  const value = (name) => {
    const found = fields[name];
    if (name === "sequenceNumber" && found instanceof Numeral) return found.text;
    return name === "taintPrevious" ? "true" : `"${string(found)}"`;
  };
  const members2 = FIELDS.filter((name) => name in fields).map((name) => `"${name}":${value(name)}`);
  return `{${members2.join(",")}}`;
}
function string(value) {
  must(typeof value === "string", "event: a member is no string");
  return value;
}

// src/keylog.ts
var HOUR = 36e5;
var SKEW = 5e3;
var Anchor = class _Anchor {
  constructor(identity, sequenceNumber, eventId) {
    this.identity = identity;
    this.sequenceNumber = sequenceNumber;
    this.eventId = eventId;
  }
  identity;
  sequenceNumber;
  eventId;
  /** `E…` or `E…@<sequence>:<event id>`. */
  static parse(text) {
    const at = text.indexOf("@");
    const identity = at < 0 ? text : text.slice(0, at);
    digestBytes(identity);
    if (at < 0) return new _Anchor(identity, null, null);
    const known = text.slice(at + 1);
    const colon = known.indexOf(":");
    must(colon >= 0, "anchor: not <sequence>:<event id>");
    const number = integer(new Numeral(known.slice(0, colon)), "anchor: sequence number");
    const eventId = known.slice(colon + 1);
    digestBytes(eventId);
    must(number > 0 || eventId === identity, "anchor: event 0 has the identity as its id");
    return new _Anchor(identity, number, eventId);
  }
};
var KeyLog = class _KeyLog {
  /** `skew` is how far an event may lie ahead of `now`, in milliseconds. */
  constructor(anchor, skew = SKEW) {
    this.skew = skew;
    this.anchor = typeof anchor === "string" ? Anchor.parse(anchor) : anchor;
  }
  skew;
  anchor;
  #events = [];
  #numberOfId = /* @__PURE__ */ new Map();
  #numberOfKey = /* @__PURE__ */ new Map();
  /** Generations tainted by a valid event that still lay in the future when it came. */
  #taintedAhead = /* @__PURE__ */ new Set();
  /** Verifies a published log, a JSON array of events, whole. */
  static async parse(text, anchor, now, skew = SKEW) {
    const log = new _KeyLog(anchor, skew);
    for (const event of await readEvents(text)) log.append(event, now);
    must(log.#events.length > 0, "log: empty");
    log.checkAnchor();
    return log;
  }
  get identity() {
    return this.anchor.identity;
  }
  /** All events; the index is the sequence number. */
  get events() {
    return this.#events;
  }
  /** The newest event. A log that was parsed has one. */
  get head() {
    const head = this.#events.at(-1);
    must(head, "log: empty");
    return head;
  }
  /** Refuses a log without the event that the reader has seen before. */
  checkAnchor() {
    const { sequenceNumber: number, eventId } = this.anchor;
    if (number === null) return;
    const found = this.#events[number];
    if (!found) throw new Rollback(`log: ends before the known event ${number}`);
    if (found.id !== eventId) throw new Fork(`log: event ${number} is not the known one`);
  }
  /** Appends the next event; an event that the log has already is refused, too. */
  append(event, now) {
    must(event.sequenceNumber === this.#events.length, "log: order of sequence numbers");
    this.extend(event, now);
  }
  /** Appends the next event; says whether it was new. A known event again is no fault. */
  extend(event, now) {
    const number = event.sequenceNumber;
    const known = this.#events[number];
    if (known) {
      if (known.text === event.text) return false;
      this.#checkFollows(event, this.#events[number - 1]);
      throw new Fork(`log: another event ${number} than the known one`);
    }
    must(number === this.#events.length, "log: order of sequence numbers");
    this.#checkFollows(event, this.#events.at(-1));
    const earlier = this.#numberOfKey.get(event.publicKey);
    must(earlier === void 0, `log: the key was revealed before, by event ${earlier}`);
    if (number === this.anchor.sequenceNumber && event.id !== this.anchor.eventId) {
      throw new Fork(`log: event ${number} is not the known one`);
    }
    if (event.createdAt > now + this.skew) {
      if (event.taintPrevious) this.#taintedAhead.add(event.previous);
      throw new FutureEvent("log: an event from the future");
    }
    this.#events.push(event);
    this.#numberOfId.set(event.id, number);
    this.#numberOfKey.set(event.publicKey, number);
    return true;
  }
  #checkFollows(event, before) {
    must(event.prefix === this.identity, "log: another identity");
    if (!before) return;
    must(event.previous === before.id, "log: previous is not the event before");
    must(digest(event.publicKey) === before.rotationHash, "log: the key is not the committed one");
    must(event.createdAt > before.createdAt, "log: time does not grow");
  }
  /** Whether the log has a generation, live or not. */
  has(generationId) {
    return this.#numberOfId.has(generationId);
  }
  /** The event that revealed a generation, if that generation is live in a look-back window. */
  live(generationId, now, window) {
    const number = this.#numberOfId.get(generationId);
    if (number === void 0) throw new Refused("generation: not in the log");
    must(!this.#taintedAhead.has(generationId), "generation: tainted");
    const successor = this.#events[number + 1];
    if (successor) {
      must(!successor.taintPrevious, "generation: tainted");
      must(now <= successor.createdAt + window, "generation: replaced before the window");
    }
    return this.#events[number];
  }
};
async function readEvents(text) {
  const events = [];
  for (const entry of entries(text)) events.push(await Event.read(entry));
  return events;
}

// src/signed.ts
var RESERVED = ["batch", "head", "health", PURPOSE];
var MAX_BATCH = 16384;
var Verified = class {
  constructor(payload, values, event) {
    this.payload = payload;
    this.values = values;
    this.event = event;
  }
  payload;
  values;
  event;
};
var BatchMemory = class {
  constructor(size = 256) {
    this.size = size;
  }
  size;
  #known = /* @__PURE__ */ new Set();
  async verify(key, body, signature) {
    const entry = `${key}${signature}${body}`;
    if (!this.#known.delete(entry)) await verify(key, body, signature);
    this.#known.add(entry);
    const oldest = this.#known.values().next().value;
    if (this.#known.size > this.size && oldest !== void 0) this.#known.delete(oldest);
  }
};
async function verifyEndorsement(text, log, now, expected) {
  const verified = await signed(text, log, now, expected);
  must(verified.values["purpose"] === expected.purpose, "body: another purpose");
  checkEndorsement(verified, now);
  must(verified.values["publicKey"] === expected.key, "endorsement: of another key");
  return verified;
}
function checkEndorsement({ values, payload }, now) {
  must(named(Object.keys(values), ["purpose", "publicKey", "expiration"]), "endorsement: members");
  const { purpose, publicKey: publicKey2, expiration } = values;
  must(typeof purpose === "string" && /^[!-~]{1,64}$/.test(purpose), "endorsement: purpose");
  must(typeof publicKey2 === "string" && typeof expiration === "string", "endorsement: members");
  const rebuilt = `{"purpose":"${purpose}","publicKey":"${publicKey2}","expiration":"${expiration}"}`;
  must(rebuilt === payload, "endorsement: not in canonical form");
  point(publicKey2);
  must(milliseconds(expiration) > now, "endorsement: expired");
}
async function signed(text, log, now, reading) {
  const { window = 12 * HOUR, memory = new BatchMemory() } = reading;
  const parts = members(text);
  if (["payload", "proof", "batch"].some((name) => parts.has(name))) {
    return batched(text, parts, log, now, window, memory);
  }
  const { body, signature } = plainParts(parts);
  const { payload, event } = readBody(body, log, now, window);
  const values = readPayload(payload);
  await verify(event.publicKey, body, signature);
  return new Verified(payload, values, event);
}
function plainParts(parts) {
  must(parts.size === 2 && parts.has("body") && parts.has("signature"), "signed: members");
  return { body: parts.get("body"), signature: plain(parts.get("signature"), "signed: signature") };
}
function readBody(body, log, now, window) {
  const inner = members(body);
  must(named(inner.keys(), ["payload", "hsm"]), "body: members");
  const hsm = readObject(inner.get("hsm"));
  must(named(Object.keys(hsm), ["identity", "generationId"]), "body: members of hsm");
  const { identity, generationId } = hsm;
  digestBytes(identity);
  digestBytes(generationId);
  const payload = inner.get("payload");
  const rebuilt = `{"payload":${payload},"hsm":{"identity":"${identity}","generationId":"${generationId}"}}`;
  must(body === rebuilt, "body: not in canonical form");
  must(identity === log.identity, "body: another identity");
  return { payload, event: log.live(generationId, now, window) };
}
async function batched(text, parts, log, now, window, memory) {
  must(named(parts.keys(), ["payload", "proof", "batch"]), "batched: members");
  const [leaf, proofText, batchText] = [...parts.values()];
  const proof = members(proofText);
  const batch = members(batchText);
  must(named(proof.keys(), ["index", "path"]), "batched: members of proof");
  must(named(batch.keys(), ["body", "signature"]), "batched: members of batch");
  const path = elements(proof.get("path")).map((element) => plain(element, "batched: path"));
  const { body, signature } = plainParts(batch);
  const quoted = path.map((element) => `"${element}"`).join(",");
  const rebuilt = `{"payload":${leaf},"proof":{"index":${proof.get("index")},"path":[${quoted}]},"batch":{"body":${body},"signature":"${signature}"}}`;
  must(text === rebuilt, "batched: not in canonical form");
  const index = integer(new Numeral(proof.get("index")), "batched: index");
  const values = readPayload(leaf);
  const { payload, event } = readBody(body, log, now, window);
  await memory.verify(event.publicKey, body, signature);
  const { root, size } = readBatch(payload);
  must(rootOf(leaf, index, size, path) === root, "proof: the path leads to another root");
  must(!RESERVED.includes(values["purpose"] ?? null), "batched: the leaf's purpose is reserved");
  return new Verified(leaf, values, event);
}
function readBatch(payload) {
  const fields = readObject(payload);
  must(fields["purpose"] === "batch", "batch: the signed body is no batch");
  must(named(Object.keys(fields), ["purpose", "root", "size"]), "batch: members");
  const { root } = fields;
  must(typeof root === "string", "batch: root");
  const size = integer(fields["size"], "batch: size");
  must(payload === `{"purpose":"batch","root":"${root}","size":${size}}`, "batch: not in canonical form");
  must(size >= 1 && size <= MAX_BATCH, "batch: size out of range");
  return { root, size };
}
function rootOf(payload, index, size, path) {
  must(index >= 0 && index < size, "proof: index outside the tree");
  const siblings = path.map(digestBytes);
  const [leaf, node] = [Uint8Array.of(0), Uint8Array.of(1)];
  let found = hash(leaf, payload);
  let used = 0;
  for (let at = index, last = size - 1; last > 0; at >>= 1, last >>= 1) {
    if (at % 2 === 0 && at === last) continue;
    const sibling = siblings[used++];
    must(sibling, "proof: the path is too short");
    found = at % 2 === 1 ? hash(node, sibling, found) : hash(node, found, sibling);
  }
  must(used === siblings.length, "proof: the path is too long");
  return digestText(found);
}
async function verifyHead(text, log, now, { maxStaleness = 6e4, skew = SKEW } = {}) {
  const { body, signature } = plainParts(members(text));
  const hsm = members(body).get("hsm");
  const generation = hsm === void 0 ? void 0 : readObject(hsm)["generationId"];
  if (generation !== log.head.id) throw new OtherHead("head: its generation is not the log's head");
  const { payload, event } = readBody(body, log, now, 0);
  const fields = readPayload(payload);
  await verify(event.publicKey, body, signature);
  must(fields["purpose"] === "head", "head: the signed body is no head statement");
  must(named(Object.keys(fields), ["purpose", "sequenceNumber", "issuedAt"]), "head: members");
  const number = fields["sequenceNumber"];
  const issuedAt = milliseconds(fields["issuedAt"]);
  const written = number instanceof Numeral ? number.text : "";
  const rebuilt = `{"purpose":"head","sequenceNumber":${written},"issuedAt":"${fields["issuedAt"]}"}`;
  must(payload === rebuilt, "head: not in canonical form");
  must(integer(number, "head: sequenceNumber") === event.sequenceNumber, "head: names another event");
  must(issuedAt <= now + skew, "head: from the future");
  must(now <= issuedAt + maxStaleness, "head: stale");
  return issuedAt;
}

// src/page.ts
async function verifyLog(text, anchor, now, progress) {
  const log = new KeyLog(anchor);
  const entries2 = [...entries(text)];
  if (entries2.length === 0) throw new Refused("log: empty");
  for (const [number, entry] of entries2.entries()) {
    try {
      log.append(await Event.read(entry), now);
    } catch (error) {
      throw error instanceof Refused ? Object.assign(error, { number }) : error;
    }
    progress(number + 1, entries2.length, log.head.id);
  }
  log.checkAnchor();
  return log;
}
async function verifyEndorsements(text, log, purpose, now, window) {
  const memory = new BatchMemory();
  const verdicts = [];
  for (const [key, endorsement] of members(text)) {
    try {
      await verifyEndorsement(endorsement, log, now, { purpose, key, window, memory });
      verdicts.push({ key, refused: null });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      verdicts.push({ key, refused: error.message });
    }
  }
  return verdicts;
}
export {
  Anchor,
  Refused,
  verifyEndorsements,
  verifyHead,
  verifyLog
};
