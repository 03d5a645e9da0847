"""The key log and endorsements over HTTP: from the keys service, or from hsmd-gateway."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from urllib.parse import urlsplit

from .connection import now
from .errors import Unavailable
from .source import Head, Message, NoStatement, Received, Statement
from .text import elements, members, read_object, string

_TIMEOUT = 5
_MAX_ANSWER = 64 << 20
_MAX_STATEMENT = 4 << 10


class HttpSource:
    """Polls a log and asks for endorsements: `unix:///path`, `http://…` or `https://…`.

    The keys service has its log at `/hsm/keys`. It need not be trusted: only a head statement, which it has at
    `head` beside the log, shows that the log is the newest, as of the time at which that was made. What is
    `trusted`, a Unix socket unless it is said otherwise, is believed to answer with the newest log, as
    hsmd-gateway does. A taint goes unnoticed for `interval` seconds.
    """

    def __init__(
        self, url: str, *, log_path: str = "/log", interval: float = 0.5, trusted: bool | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._trusted = url.startswith("unix:") if trusted is None else trusted
        self._log_path = log_path
        self._head_path = log_path.rpartition("/")[0] + "/head"
        self._interval = interval

    def watch(self, start: int) -> _Poll:
        """The log from event `start` on, as it grows."""
        return _Poll(self, start, self._log_path, self._interval)

    def _statement(self) -> Statement | NoStatement:
        """The newest head statement. Without one the log is good still, so it is not fetched anew."""
        try:
            status, _, text = self._ask("GET", self._head_path, {}, limit=_MAX_STATEMENT)
        except Unavailable as error:
            return NoStatement(str(error))
        if status != 200:
            return NoStatement(f"{self._url}{self._head_path} answered {status}")
        return Statement(text)

    def endorse(self, purpose: str, public_key: str, ttl: float) -> str:
        """The text of a new endorsement; `ttl` in seconds."""
        instant = datetime.fromtimestamp((now() + int(ttl * 1000)) / 1000, timezone.utc)
        expiration = instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03}Z"
        payload = {"purpose": purpose, "publicKey": public_key, "expiration": expiration}
        body = json.dumps({"payload": payload}, separators=(",", ":")).encode()
        status, _, text = self._ask("POST", "/sign", {"content-type": "application/json"}, body)
        if status != 200:
            raise Unavailable(f"{self._url}/sign answered {status}: {text[:300]}")
        return text.rstrip("\n")

    def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None = None,
        limit: int = _MAX_ANSWER,
    ) -> tuple[int, str | None, str]:
        """Status, ETag and body."""
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read(limit).decode()
            return answer.status, answer.getheader("etag"), text
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            raise Unavailable(f"{self._url}{path} does not answer: {error}") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._url)
        if parts.scheme == "unix":
            return _UnixConnection(parts.path)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.netloc, timeout=_TIMEOUT)


class _Poll:
    def __init__(self, source: HttpSource, start: int, path: str, interval: float) -> None:
        self._source = source
        self._start = start
        self._path = path
        self._interval = interval
        self._cancelled = threading.Event()

    def __iter__(self) -> Iterator[Message]:
        etag: str | None = None
        known: list[str] = []
        head: Head | None = None
        while not self._cancelled.is_set():
            headers = {"if-none-match": etag} if etag else {}
            status, etag_now, text = self._source._ask("GET", self._path, headers)
            if status != 304 or head is None:
                if status != 200:
                    raise Unavailable(f"{self._source._url}{self._path} answered {status}")
                etag, entries = etag_now, elements(text)
                # Those before `start` are known; what changed since the last answer is judged by the log.
                for number, entry in enumerate(entries):
                    if number >= self._start and known[number : number + 1] != [entry]:
                        parts = members(entry)
                        yield Received(
                            parts.get("payload", ""), string(parts.get("signature", ""), "log: signature")
                        )
                known, head = entries, _newest(entries, self._source._trusted)
            yield head
            if not self._source._trusted:
                yield self._source._statement()
            self._cancelled.wait(self._interval)

    def cancel(self) -> None:
        self._cancelled.set()


def _newest(entries: list[str], trusted: bool) -> Head:
    """What a log calls its newest event; whether it is one was judged before."""
    last = read_object(members(entries[-1]).get("payload", "{}")) if entries else {}
    return Head(str(last.get("id")), len(entries) - 1, authenticated=trusted)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
