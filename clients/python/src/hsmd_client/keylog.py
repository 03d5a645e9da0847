"""The key log: events, their chain, and which generations are live. docs/formats.md, section 2."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .encoding import digest, digest_bytes, milliseconds, public_key, verify
from .errors import Fork, Refused, Rollback, require
from .text import Numeral, entries, members, read_object, string

_PLACEHOLDER = "#" * 44
_INTEGER = re.compile("0|[1-9][0-9]{0,7}")
_FIELDS = (
    "id", "prefix", "sequenceNumber", "previous", "createdAt", "taintPrevious", "purpose",
    "publicKey", "rotationHash",
)  # fmt: skip
_FIRST = tuple(name for name in _FIELDS if name not in ("previous", "taintPrevious"))
PURPOSE = "key-authorization"

HOUR = 3_600_000


def integer(value: object, what: str) -> int:
    """A number as the formats write it: no sign, fraction, exponent or leading zero. A string is none."""
    require(isinstance(value, Numeral) and _INTEGER.fullmatch(value), f"{what}: no integer in its one form")
    assert isinstance(value, Numeral)
    return int(value)


@dataclass(frozen=True)
class Event:
    """An event that is canonical, names itself rightly and is signed by the key it reveals.

    Times are milliseconds since 1970.
    """

    text: str
    signature: str
    id: str
    prefix: str
    sequence_number: int
    previous: str | None
    created_at: int
    taint_previous: bool
    public_key: str
    rotation_hash: str

    @classmethod
    def parse(cls, text: str, signature: str) -> Event:
        """Everything that can be said of an event without its neighbours, or `Refused`."""
        fields = read_object(text)
        number = integer(fields.get("sequenceNumber"), "event: sequenceNumber")
        required = set(_FIRST if number == 0 else _FIELDS) - {"taintPrevious"}
        require(set(fields) - {"taintPrevious"} == required, "event: fields")
        tainted = "taintPrevious" in fields
        require(not tainted or (fields["taintPrevious"] is True and number > 0), "event: taintPrevious")
        require(_canonical(fields) == text, "event: not in canonical form")
        for name in ("id", "prefix", "previous", "rotationHash"):
            if name in fields:
                digest_bytes(fields[name])
        blank = {**fields, "id": _PLACEHOLDER}
        if number == 0:
            blank["prefix"] = _PLACEHOLDER
            require(fields["prefix"] == fields["id"], "event 0: prefix is not its id")
        require(digest(_canonical(blank).encode()) == fields["id"], "event: id is not its digest")
        require(fields["purpose"] == PURPOSE, "event: purpose")
        public_key(fields["publicKey"])
        own = digest(fields["publicKey"].encode()) == fields["rotationHash"]
        require(not own, "event: commits to its own key")
        verify(fields["publicKey"], text, signature)
        return cls(
            text, signature, fields["id"], fields["prefix"], number, fields.get("previous"),
            milliseconds(fields["createdAt"]), tainted, fields["publicKey"], fields["rotationHash"],
        )  # fmt: skip


def _canonical(fields: dict[str, Any]) -> str:
    def value(name: str) -> str:
        if name == "sequenceNumber":
            return str(fields[name])
        return "true" if name == "taintPrevious" else f'"{fields[name]}"'

    return "{" + ",".join(f'"{name}":{value(name)}' for name in _FIELDS if name in fields) + "}"


@dataclass(frozen=True)
class Anchor:
    """What a reader knows beforehand: an identity, and the newest event it has seen, if any."""

    identity: str
    sequence_number: int | None = None
    event_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """`E…` or `E…@<sequence>:<event id>`."""
        identity, at, known = text.partition("@")
        digest_bytes(identity)
        if not at:
            return cls(identity)
        number, _, event_id = known.partition(":")
        digest_bytes(event_id)
        sequence_number = integer(Numeral(number), "anchor: sequence number")
        require(sequence_number > 0 or event_id == identity, "anchor: event 0 has the identity as its id")
        return cls(identity, sequence_number, event_id)


class FutureEvent(Refused):
    """The only fault of a new event is that it lies in the future."""


class KeyLog:
    """A verified key log of the expected identity. It only grows: `extend` verifies before it appends.

    `skew` is how far an event may lie ahead of `now`, in milliseconds.
    """

    def __init__(self, anchor: Anchor | str, skew: int = 5000) -> None:
        self.anchor = Anchor.parse(anchor) if isinstance(anchor, str) else anchor
        self.skew = skew
        self.events: list[Event] = []
        self._number_of_id: dict[str, int] = {}
        self._number_of_key: dict[str, int] = {}
        # Generations tainted by a valid event that still lay in the future when it came.
        self._tainted_ahead: set[str | None] = set()

    @classmethod
    def parse(cls, text: str, anchor: Anchor | str, now: int, skew: int = 5000) -> KeyLog:
        """Verifies a published log, a JSON array of events, whole."""
        log = cls(anchor, skew)
        for event in read_events(text):
            log.append(event, now)
        require(log.events, "log: empty")
        log.check_anchor()
        return log

    @property
    def identity(self) -> str:
        return self.anchor.identity

    @property
    def head(self) -> Event:
        """The newest event. A log that was parsed has one."""
        require(self.events, "log: empty")
        return self.events[-1]

    def check_anchor(self) -> None:
        """Refuses a log without the event that the reader has seen before."""
        number, known = self.anchor.sequence_number, self.anchor.event_id
        if number is None:
            return
        if number >= len(self.events):
            raise Rollback(f"log: ends before the known event {number}")
        if self.events[number].id != known:
            raise Fork(f"log: event {number} is not the known one")

    def append(self, event: Event, now: int) -> None:
        """Appends the next event; an event that the log has already is refused, too."""
        require(event.sequence_number == len(self.events), "log: order of sequence numbers")
        self.extend(event, now)

    def extend(self, event: Event, now: int) -> bool:
        """Appends the next event; says whether it was new. A known event again is no fault."""
        number = event.sequence_number
        if number < len(self.events):
            if self.events[number].text == event.text:
                return False
            # Only what the committed key signed is a fork; anything else is a bad event.
            self._check_follows(event, self.events[number - 1] if number else None)
            raise Fork(f"log: another event {number} than the known one")
        require(number == len(self.events), "log: order of sequence numbers")
        self._check_follows(event, self.events[-1] if self.events else None)
        earlier = self._number_of_key.get(event.public_key)
        require(earlier is None, f"log: the key was revealed before, by event {earlier}")
        known = self.anchor
        if number == known.sequence_number and event.id != known.event_id:
            raise Fork(f"log: event {number} is not the known one")
        if event.created_at > now + self.skew:
            # Its mark counts at once: who is wrong about the time may be right about the theft.
            if event.taint_previous:
                self._tainted_ahead.add(event.previous)
            raise FutureEvent("log: an event from the future")
        self.events.append(event)
        self._number_of_id[event.id] = number
        self._number_of_key[event.public_key] = number
        return True

    def _check_follows(self, event: Event, before: Event | None) -> None:
        require(event.prefix == self.identity, "log: another identity")
        if before is None:
            return
        require(event.previous == before.id, "log: previous is not the event before")
        committed = digest(event.public_key.encode()) == before.rotation_hash
        require(committed, "log: the key is not the committed one")
        require(event.created_at > before.created_at, "log: time does not grow")

    def live(self, generation_id: str, now: int, window: int) -> Event:
        """The event that revealed a generation, if that generation is live in a look-back window."""
        number = self._number_of_id.get(generation_id)
        if number is None:
            raise Refused("generation: not in the log")
        require(generation_id not in self._tainted_ahead, "generation: tainted")
        if number + 1 < len(self.events):
            successor = self.events[number + 1]
            require(not successor.taint_previous, "generation: tainted")
            require(now <= successor.created_at + window, "generation: replaced before the window")
        return self.events[number]


def read_events(text: str) -> list[Event]:
    """The events of a published log, each verified alone."""
    return [Event.parse(*read_entry(entry)) for entry in entries(text)]


def read_entry(text: str) -> tuple[str, str]:
    """An event's text and its signature, from an entry of a published log; neither is verified."""
    parts = members(text)
    require(set(parts) == {"payload", "signature"}, "log: members of an entry")
    return parts["payload"], string(parts["signature"], "log: signature")
