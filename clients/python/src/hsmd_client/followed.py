"""A key log that follows the daemon's: verified event by event, and stale when nothing is heard."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .connection import now as wall_clock
from .errors import OtherHead, Refused, Rollback, Stale, Unavailable
from .keylog import HOUR, Anchor, Event, FutureEvent, KeyLog
from .signed import BatchMemory, Verified, verify_endorsement, verify_head, verify_signed
from .source import Head, LogSource, Received, Statement, Watch

_LOG = logging.getLogger("hsmd_client")
_RECONNECT_DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class FollowedLog:
    """Follows a source's log on a thread of its own, from `start` to `close`.

    Answers only while it is known to be the newest log as of `max_staleness` seconds ago: a frozen feed must
    not hide a taint. Over gRPC the daemon's heartbeats say so, which its socket's owner or TLS authenticates;
    over HTTP only a head statement does, from the time at which it was made, so that a frozen mirror can't,
    unless it holds the active key itself. Events are verified all the same, and a head, once seen, is never
    given up.
    """

    def __init__(
        self, source: LogSource, anchor: Anchor | str, *, max_staleness: float = 60.0, skew: int = 5000
    ) -> None:
        self._source = source
        self._log = KeyLog(anchor, skew)
        self._max_staleness = max_staleness
        self._memory = BatchMemory()
        self._changed = threading.Condition()
        self._heard_at: float | None = None
        self._problem = "nothing was heard yet"
        self._stopping = threading.Event()
        self._stream: Watch | None = None
        self._thread = threading.Thread(target=self._run, name="hsmd-log", daemon=True)

    def start(self) -> FollowedLog:
        self._thread.start()
        return self

    def close(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        with self._changed:
            if self._stream is not None:
                self._stream.cancel()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> FollowedLog:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def identity(self) -> str:
        return self._log.identity

    def head(self) -> Event:
        """The newest verified event. Raises `Stale`."""
        return self.fresh().head

    def fresh(self) -> KeyLog:
        """The verified log, or `Stale`. It grows while one looks at it, and never changes otherwise."""
        with self._changed:
            if not self._is_fresh():
                raise Stale(f"the key log is stale: {self._problem}")
            return self._log

    def age(self) -> float | None:
        """How many seconds ago the log was last known to be the newest, if ever."""
        heard = self._heard_at
        return None if heard is None else time.monotonic() - heard

    def _is_fresh(self) -> bool:
        age = self.age()
        return age is not None and age <= self._max_staleness and bool(self._log.events)

    def wait(self, until: Callable[[KeyLog], bool], timeout: float) -> bool:
        """Waits until the fresh log fulfils a condition; says whether it did."""
        def met() -> bool:
            try:
                return until(self.fresh())
            except Stale:
                return False

        with self._changed:
            return self._changed.wait_for(met, timeout)

    def wait_for_change(self, head_id: str | None, timeout: float) -> None:
        """Waits until the head is another than this one, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping.is_set() or (bool(self._log.events) and self._log.head.id != head_id),
                timeout,
            )

    def verify_endorsement(
        self, text: str, *, purpose: str, key: str, window: int = 12 * HOUR
    ) -> Verified:
        """Whether a published endorsement is valid now. Raises `Refused` or `Stale`."""
        return verify_endorsement(
            text, self.fresh(), wall_clock(), purpose=purpose, key=key, window=window, memory=self._memory
        )

    def verify_signed(self, text: str, *, purpose: str | None = None, window: int = 12 * HOUR) -> Verified:
        """Whether a published signed payload is valid now. Raises `Refused` or `Stale`."""
        return verify_signed(
            text, self.fresh(), wall_clock(), window, purpose=purpose, memory=self._memory
        )

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            heard = self._heard_at
            try:
                self._watch()
            except (Unavailable, OSError) as error:
                self._note(str(error))
            except Refused as error:
                # A rollback, a fork, a forgery: nothing of it was taken, and nothing later will be until
                # the source is right again.
                self._note(f"the source's log is refused: {error}")
                _LOG.error("the source's key log is refused: %s", error)
            # Whatever else a source raises must not end the following.
            except Exception as error:
                self._note(f"{type(error).__name__}: {error}")
                _LOG.exception("the key log is not followed")
            if self._heard_at != heard:
                attempt = 0
            self._stopping.wait(_RECONNECT_DELAYS[min(attempt, len(_RECONNECT_DELAYS) - 1)])
            attempt += 1

    def _note(self, problem: str) -> None:
        with self._changed:
            self._problem = problem
            self._changed.notify_all()

    def _watch(self) -> None:
        stream = self._source.watch(max(0, len(self._log.events) - 1))
        with self._changed:
            self._stream = stream
            if self._stopping.is_set():
                stream.cancel()
        for message in stream:
            if self._stopping.is_set():
                return
            if isinstance(message, Received):
                self._take(Event.parse(message.text, message.signature))
            elif isinstance(message, Head):
                self._compare(message)
            elif isinstance(message, Statement):
                self._take_statement(message.text)
            else:
                self._note(message.problem)

    def _take(self, event: Event) -> None:
        with self._changed:
            try:
                self._log.extend(event, wall_clock())
                if event.sequence_number == self._log.anchor.sequence_number:
                    self._log.check_anchor()
            except FutureEvent as error:
                # The head stays; the stream is asked again for this event.
                self._problem = str(error)
                raise
            finally:
                self._changed.notify_all()

    def _compare(self, head: Head) -> None:
        with self._changed:
            if not self._log.events or head.sequence_number > self._log.head.sequence_number:
                return  # events are on their way
            if head.sequence_number < self._log.head.sequence_number:
                ours = self._log.head.sequence_number
                raise Rollback(f"the source ends before event {ours}, which was verified")
            if head.id != self._log.head.id:
                raise Refused("the source names another head than the one that was verified")
            if head.authenticated:
                self._confirmed(0)

    def _take_statement(self, text: str) -> None:
        with self._changed:
            if not self._log.events:
                return
            now, allowed = wall_clock(), int(self._max_staleness * 1000)
            try:
                issued_at = verify_head(text, self._log, now, allowed, self._log.skew)
            except OtherHead as error:
                # After an event the next statement takes some seconds.
                if not self._is_fresh():
                    self._problem = str(error)
            except Refused as error:
                # The log is good, so it is not fetched anew.
                self._problem = str(error)
            else:
                self._confirmed(max(0, now - issued_at))

    def _confirmed(self, age: int) -> None:
        """So many milliseconds ago our head was the newest event."""
        self._log.check_anchor()
        at = time.monotonic() - age / 1000
        self._heard_at = at if self._heard_at is None else max(at, self._heard_at)
        self._problem = f"nothing was heard for {self._max_staleness:g} s"
        self._changed.notify_all()
