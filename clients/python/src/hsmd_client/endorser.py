"""Keeps a service's key endorsed: before the endorsement expires, and at once when the log moves."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from .encoding import milliseconds, public_key_text, sign
from .errors import Refused, Stale, Unavailable
from .followed import FollowedLog
from .source import EndorsementSource
from .text import members, read_object
from .token import token

_LOG = logging.getLogger("hsmd_client")
_RETRY_DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Endorsement:
    """An endorsement as it is published, whole and verified."""

    text: str
    public_key: str
    generation_id: str
    expiration: int


class Endorser:
    """Makes a key, has it endorsed, and keeps it so on a thread of its own, from `start` to `close`.

    `publish` is called with each new endorsement, before `current` gives it; when it fails, a new one is asked
    for. An endorsement whose generation is no longer the head is renewed at once, so a taint needs no restart.
    """

    def __init__(
        self,
        source: EndorsementSource,
        log: FollowedLog,
        *,
        purpose: str,
        ttl: float,
        publish: Callable[[Endorsement], None] | None = None,
        private_key: ec.EllipticCurvePrivateKey | None = None,
    ) -> None:
        self._source = source
        self._log = log
        self._purpose = purpose
        self._ttl = ttl
        self._publish = publish
        self._key = private_key or ec.generate_private_key(ec.SECP256R1())
        self.public_key = public_key_text(self._key.public_key())
        self._current: Endorsement | None = None
        self._renew_at = 0.0
        self._changed = threading.Condition()
        self._problem = "not endorsed yet"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hsmd-endorser", daemon=True)

    def start(self) -> Endorser:
        self._thread.start()
        return self

    def close(self) -> None:
        """Ends the thread. The key is forgotten with this object."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Endorser:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def current(self) -> Endorsement:
        """An endorsement that verifies now, or `Unavailable` with the reason."""
        with self._changed:
            current, problem = self._current, self._problem
        if current is None:
            raise Unavailable(f"the key is not endorsed: {problem}")
        try:
            self._log.verify_endorsement(current.text, purpose=self._purpose, key=self.public_key)
        except (Refused, Stale) as error:
            raise Unavailable(f"the key is not endorsed: {error}") from error
        return current

    def wait(self, timeout: float) -> Endorsement:
        """The first endorsement that verifies within `timeout` seconds, or `Unavailable`."""
        end = time.monotonic() + timeout
        while True:
            try:
                return self.current()
            except Unavailable:
                left = end - time.monotonic()
                if left <= 0:
                    raise
                with self._changed:
                    self._changed.wait(min(left, 0.1))

    def sign(self, message: str) -> str:
        """Signs with the endorsed key. Raises `Unavailable` while it is not endorsed."""
        self.current()
        return sign(self._key, message)

    def sign_token(self, claims: Mapping[str, Any], lifetime: float = 15 * 60) -> str:
        """A JWT (ES256) whose `kid` is the key's text, for a key endorsed for `jwt` and published where
        verifiers fetch their JWKS. It lives for `lifetime` seconds, and never longer than the endorsement.
        """
        return token(self._key, self.public_key, claims, lifetime, self.current().expiration)

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            if not self._due():
                self._log.wait_for_change(self._current.generation_id if self._current else None, 0.25)
                continue
            try:
                self._endorse()
                attempt = 0
            # Whatever `publish` raises must not end the renewals.
            except Exception as error:
                with self._changed:
                    self._problem = str(error)
                _LOG.warning("key not endorsed: %s", error)
                self._stopping.wait(_RETRY_DELAYS[min(attempt, len(_RETRY_DELAYS) - 1)])
                attempt += 1

    def _due(self) -> bool:
        if self._current is None or time.monotonic() >= self._renew_at:
            return True
        try:
            return self._log.head().id != self._current.generation_id
        except Stale:
            return False

    def _endorse(self) -> None:
        asked = time.monotonic()
        text = self._source.endorse(self._purpose, self.public_key, self._ttl)
        generation = _generation(text)
        # The reply may name a generation whose event the log is about to bring.
        self._log.wait(lambda log: any(e.id == generation for e in log.events[-4:]), 5)
        verified = self._log.verify_endorsement(text, purpose=self._purpose, key=self.public_key)
        expiration = milliseconds(verified.values["expiration"])
        endorsement = Endorsement(text, self.public_key, verified.event.id, expiration)
        if self._publish:
            self._publish(endorsement)
        with self._changed:
            self._current = endorsement
            # The last third is a reserve for outages; a tenth keeps a fleet from renewing together.
            self._renew_at = asked + self._ttl * (2 / 3 - random.random() / 10)
            self._changed.notify_all()


def _generation(text: str) -> object:
    """The generation that a plain endorsement names."""
    body = members(text).get("body", "{}")
    return read_object(members(body).get("hsm", "{}")).get("generationId")
