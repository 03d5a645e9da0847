"""Where a followed log and endorsements come from: `connection` (gRPC) and `http` are the two kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Received:
    """An event as it was received."""

    text: str
    signature: str


@dataclass(frozen=True)
class Head:
    """Which event the source calls its newest. Of an authenticated source that is a sign of life."""

    id: str
    sequence_number: int
    authenticated: bool


@dataclass(frozen=True)
class Statement:
    """A head statement as it was received: the sign of life of a source that need not be trusted."""

    text: str


@dataclass(frozen=True)
class NoStatement:
    """The source has its log and no head statement now."""

    problem: str


Message = Received | Head | Statement | NoStatement


class Watch(Protocol):
    """Events, each new one as it comes, and signs of life; raises `Unavailable` when the source fails."""

    def __iter__(self) -> Iterator[Message]: ...

    def cancel(self) -> None:
        """Ends the iteration, from any thread."""


class LogSource(Protocol):
    """Has a key log."""

    def watch(self, start: int) -> Watch:
        """From event `start` on, which is 0 or the newest event that the reader has."""


class EndorsementSource(Protocol):
    """Endorses keys."""

    def endorse(self, purpose: str, public_key: str, ttl: float) -> str:
        """The published text of a new endorsement; `ttl` in seconds. Raises `Unavailable`."""
