#!/usr/bin/env python3
"""Verifies a key log, endorsements and signed documents offline, without any of hsmd's code.

    verify.py --identity E… --log log.json [--signed FILE …] [--head FILE] [--window 12h] [--at TIME]

Signed files hold a plain signed body or a batched signature.

Exit codes, as hsmctl's: 0 everything is good, 1 a file can't be read, 2 something is refused, 64 bad
usage.
"""

import argparse
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from formats import (
    Refused, check_digest, digest, digest_bytes, elements, leaf_hash, members, milliseconds,
    node_hash, public_key, read_object, read_payload, require, verify_signature,
)

PLACEHOLDER = "#" * 44
PURPOSE = "key-authorization"
RESERVED = ("batch", "head", "health", PURPOSE)
MAX_BATCH = 16384
INTEGER = "0|[1-9][0-9]{0,7}"
MAX_SEQUENCE_NUMBER = 99_999_999
ORDER = (
    "id", "prefix", "sequenceNumber", "previous", "createdAt", "taintPrevious", "purpose",
    "publicKey", "rotationHash",
)  # fmt: skip
EVENT_0 = tuple(name for name in ORDER if name not in ("previous", "taintPrevious"))


@dataclass(frozen=True)
class Event:
    """An event that is canonical, names itself rightly and is signed by the key it reveals."""

    id: str
    prefix: str
    sequence_number: int
    previous: str | None
    created_at: int
    taint_previous: bool
    public_key: str
    rotation_hash: str


def event_text(fields):
    """The canonical text of an event's fields, in the binding order."""
    def value(name):
        return {"sequenceNumber": str, "taintPrevious": lambda _: "true"}.get(
            name, lambda text: f'"{text}"'
        )(fields[name])

    return "{" + ",".join(f'"{name}":{value(name)}' for name in ORDER if name in fields) + "}"


def read_event(text, signature):
    """One event: everything that can be said of it without its neighbours."""
    fields = read_object(text)
    number = fields.get("sequenceNumber")
    require(isinstance(number, str) and re.fullmatch(INTEGER, number), "event: number")
    require(int(number) <= MAX_SEQUENCE_NUMBER, "event: number")
    names = set(fields) - {"taintPrevious"}
    require(names == set(EVENT_0 if number == "0" else ORDER) - {"taintPrevious"}, "event: fields")
    tainted = "taintPrevious" in fields
    require(not tainted or (fields["taintPrevious"] is True and number != "0"), "event: taint")
    require(event_text(fields) == text, "event: not in canonical form")

    for name in ("id", "prefix", "previous", "rotationHash"):
        if name in fields:
            check_digest(fields[name])
    blank = {**fields, "id": PLACEHOLDER}
    if number == "0":
        blank["prefix"] = PLACEHOLDER
        require(fields["prefix"] == fields["id"], "event 0: prefix is not its id")
    require(digest(event_text(blank).encode()) == fields["id"], "event: id is not its digest")
    own_key = digest(fields["publicKey"].encode()) == fields["rotationHash"]
    require(not own_key, "event: commits to its own key")
    require(fields["purpose"] == PURPOSE, "event: purpose")
    public_key(fields["publicKey"])
    verify_signature(fields["publicKey"], text, signature)
    return Event(
        fields["id"], fields["prefix"], int(number), fields.get("previous"),
        milliseconds(fields["createdAt"]), tainted, fields["publicKey"], fields["rotationHash"],
    )  # fmt: skip


class KeyLog:
    """A verified key log of the expected identity."""

    def __init__(self, text, identity, now, skew):
        """`identity` is `E…`, or `E…@<sequence>:<event id>` for a log that must hold that event."""
        prefix, _, known = identity.partition("@")
        self.identity = check_digest(prefix)
        self.events = []
        self._revealed = {}
        for element in elements(text):
            parts = members(element)
            require(set(parts) == {"payload", "signature"}, "log: members of an entry")
            require(re.fullmatch('"[A-Za-z0-9_-]*"', parts["signature"]), "log: signature text")
            self._append(read_event(parts["payload"], parts["signature"][1:-1]), now + skew)
        require(self.events, "log: empty")
        require(self.events[0].prefix == self.identity, "log: another identity")
        if known:
            number, _, event_id = known.partition(":")
            require(re.fullmatch(INTEGER, number), "identity: sequence number")
            check_digest(event_id)
            held = any((str(e.sequence_number), e.id) == (number, event_id) for e in self.events)
            require(held, "log: lacks the known event (rollback or fork)")

    def _append(self, event, latest):
        require(event.sequence_number == len(self.events), "log: order of sequence numbers")
        require(event.created_at <= latest, "log: an event from the future")
        if self.events:
            head = self.events[-1]
            require(event.prefix == head.prefix, "log: prefix changes")
            require(event.previous == head.id, "log: previous is not the event before")
            require(event.created_at > head.created_at, "log: time does not grow")
            committed = digest(event.public_key.encode()) == head.rotation_hash
            require(committed, "log: the key is not the committed one")
        earlier = self._revealed.setdefault(event.public_key, event.sequence_number)
        new = earlier == event.sequence_number
        require(new, f"log: the key was revealed before, by event {earlier}")
        self.events.append(event)

    def live(self, generation_id, now, window):
        """The event that revealed a generation, if that generation is live."""
        for event, successor in zip(self.events, [*self.events[1:], None]):
            if event.id == generation_id:
                if successor is not None:
                    require(not successor.taint_previous, "generation: tainted")
                    in_window = now <= successor.created_at + window
                    require(in_window, "generation: replaced before the window")
                return event
        raise Refused("generation: not in the log")


def verify_body(body, signature, log, now, window):
    """A signed body: its payload's text and the event that vouches."""
    require(re.fullmatch('"[A-Za-z0-9_-]*"', signature), "signed: signature text")
    inner = members(body)
    require(list(inner) == ["payload", "hsm"], "body: members")
    hsm = read_object(inner["hsm"])
    require(list(hsm) == ["identity", "generationId"], "body: members of hsm")
    tail = f'"hsm":{{"identity":"{hsm["identity"]}","generationId":"{hsm["generationId"]}"}}'
    require(body == f'{{"payload":{inner["payload"]},{tail}}}', "body: not in canonical form")
    require(check_digest(hsm["identity"]) == log.identity, "body: another identity")
    event = log.live(check_digest(hsm["generationId"]), now, window)
    verify_signature(event.public_key, body, signature[1:-1])
    return inner["payload"], event


def plain(text, log, now, window):
    """`{"body":…,"signature":…}`: the payload's text and the event that vouches."""
    parts = members(text)
    require(set(parts) == {"body", "signature"}, "signed: members")
    return verify_body(parts["body"], parts["signature"], log, now, window)


def batched(text, log, now, window):
    """`{"payload":…,"proof":…,"batch":…}`: the leaf's text and the event that vouches."""
    parts = members(text)
    require(list(parts) == ["payload", "proof", "batch"], "batched: members")
    proof, batch = members(parts["proof"]), members(parts["batch"])
    require(list(proof) == ["index", "path"], "batched: members of proof")
    require(list(batch) == ["body", "signature"], "batched: members of batch")
    path = [element[1:-1] for element in elements(proof["path"])]
    quoted = ",".join(f'"{element}"' for element in path)
    rebuilt = (
        f'{{"payload":{parts["payload"]},"proof":{{"index":{proof["index"]},"path":[{quoted}]}},'
        f'"batch":{{"body":{batch["body"]},"signature":{batch["signature"]}}}}}'
    )
    require(text == rebuilt, "batched: not in canonical form")
    require(re.fullmatch(INTEGER, proof["index"]), "batched: index is no integer")
    siblings = [digest_bytes(element) for element in path]

    payload, event = verify_body(batch["body"], batch["signature"], log, now, window)
    fields = read_object(payload)
    require(fields.get("purpose") == "batch", "batch: the signed body is no batch")
    require(list(fields) == ["purpose", "root", "size"], "batch: members")
    root, size = digest_bytes(fields["root"]), fields["size"]
    require(isinstance(size, str) and re.fullmatch(INTEGER, size), "batch: size is no integer")
    canonical = f'{{"purpose":"batch","root":"{fields["root"]}","size":{size}}}'
    require(payload == canonical, "batch: not in canonical form")
    require(1 <= int(size) <= MAX_BATCH, "batch: size out of range")

    require(int(proof["index"]) < int(size), "proof: index outside the tree")
    node, last, found = int(proof["index"]), int(size) - 1, leaf_hash(parts["payload"])
    while last > 0:
        if node % 2 == 1 or node < last:
            require(siblings, "proof: the path is too short")
            sibling = siblings.pop(0)
            found = node_hash(sibling, found) if node % 2 == 1 else node_hash(found, sibling)
        node, last = node // 2, last // 2
    require(not siblings, "proof: the path is too long")
    require(found == root, "proof: the path leads to another root")
    reserved = read_payload(parts["payload"]).get("purpose") in RESERVED
    require(not reserved, "batched: the leaf's purpose is reserved")
    return parts["payload"], event


def verify_signed(text, log, now, window, purpose=None, key=None):
    """A signed payload in either form. Returns the payload and the event that vouches.

    A payload with a `publicKey` or an `expiration` is an endorsement and must be a good one.
    """
    names = set(members(text))
    form = batched if names & {"payload", "proof", "batch"} else plain
    payload_text, event = form(text, log, now, window)
    payload = read_payload(payload_text)
    require(purpose is None or payload.get("purpose") == purpose, "body: another purpose")
    endorsement = key is not None or "publicKey" in payload or "expiration" in payload
    if endorsement:
        require(list(payload) == ["purpose", "publicKey", "expiration"], "endorsement: members")
        require(isinstance(payload["purpose"], str), "endorsement: purpose")
        public_key(payload["publicKey"])
        require(payload_text == endorsement_text(payload), "endorsement: not in canonical form")
        require(key is None or payload["publicKey"] == key, "endorsement: of another key")
        require(milliseconds(payload["expiration"]) > now, "endorsement: expired")
    return payload, event


def endorsement_text(payload):
    """The canonical text of an endorsement's payload; its values hold nothing to be escaped."""
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in payload.items()) + "}"


def verify_head(text, log, now, max_staleness, skew):
    """A head statement that shows the log to be fresh. Returns when it was issued."""
    parts = members(text)
    require(set(parts) == {"body", "signature"}, "signed: members")
    head = log.events[-1]
    hsm = read_object(members(parts["body"]).get("hsm", "{}"))
    require(hsm.get("generationId") == head.id, "head: its generation is not the log's head")
    payload, event = verify_body(parts["body"], parts["signature"], log, now, 0)
    fields = read_object(payload)
    require(fields.get("purpose") == "head", "head: the signed body is no head statement")
    require(list(fields) == ["purpose", "sequenceNumber", "issuedAt"], "head: members")
    number, issued_at = fields["sequenceNumber"], milliseconds(fields["issuedAt"])
    require(isinstance(number, str) and re.fullmatch(INTEGER, number), "head: number")
    canonical = (
        f'{{"purpose":"head","sequenceNumber":{number},"issuedAt":"{fields["issuedAt"]}"}}'
    )
    require(payload == canonical, "head: not in canonical form")
    require(int(number) == event.sequence_number, "head: names another event")
    require(issued_at <= now + skew, "head: from the future")
    require(now <= issued_at + max_staleness, "head: stale")
    return issued_at


def duration(text):
    """Milliseconds of a duration such as 500ms, 5s, 12h15m."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    if not re.fullmatch(r"(?:[0-9]+(?:ms|s|m|h|d))+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration like 12h15m")
    parts = re.findall(r"([0-9]+)(ms|s|m|h|d)", text)
    return sum(int(number) * units[unit] for number, unit in parts)


def read_file(path):
    try:
        return Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8") from error


class Parser(argparse.ArgumentParser):
    """Exits with 64 on bad usage, as hsmd and hsmctl do."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")


def main(arguments=None):
    parser = Parser(description="Verify a key log and what it vouches for, offline.")
    parser.add_argument("--identity", required=True, help="E…, or E…@<sequence>:<event id>")
    parser.add_argument("--log", required=True, help="file with the published log")
    parser.add_argument("--signed", nargs="*", default=[], help="files with signed payloads")
    parser.add_argument("--head", help="file with a head statement that must be fresh")
    parser.add_argument("--max-staleness", type=duration, default="60s", help="its greatest age")
    parser.add_argument("--purpose", help="the purpose they must have")
    parser.add_argument("--public-key", help="the key that they must endorse")
    parser.add_argument("--window", type=duration, default="12h", help="look-back window")
    parser.add_argument("--skew", type=duration, default="5s", help="clock skew allowed")
    parser.add_argument("--at", help="verify as of this time, not now")
    options = parser.parse_args(arguments)
    subject = options.log
    try:
        now = milliseconds(options.at) if options.at else time.time_ns() // 1_000_000
        log = KeyLog(read_file(options.log), options.identity, now, options.skew)
        print(f"{subject}: {len(log.events)} events, head {log.events[-1].id}")
        if options.head:
            subject = options.head
            text = read_file(subject).removesuffix("\n")
            limits = (options.max_staleness, options.skew)
            age = now - verify_head(text, log, now, *limits)
            print(f"{subject}: the log was at its head {age} ms ago")
        for subject in options.signed:
            text = read_file(subject).removesuffix("\n")
            payload, event = verify_signed(
                text, log, now, options.window, options.purpose, options.public_key
            )
            purpose = payload.get("purpose")
            print(f"{subject}: purpose {purpose}, signed by generation {event.sequence_number}")
    except Refused as error:
        print(f"{subject}: refused: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
