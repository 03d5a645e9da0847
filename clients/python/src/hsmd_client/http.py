"""The key log and endorsements over HTTP: from the keys service, or from hsmd-gateway."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, cast
from urllib.parse import urlsplit

from .connection import now
from .errors import Unavailable
from .keylog import read_entry
from .source import Head, Message, NoStatement, Received, Statement
from .text import entries, read_object

# How long an answer may take, from the question to its last byte. To connect to each address, and to agree on
# TLS, may take as long before.
_TIMEOUT = 5
_MAX_LOG = 64 << 20
_MAX_ENDORSEMENT = 64 << 10
_MAX_STATEMENT = 4 << 10
_MAX_PIECE = 64 << 10


class HttpSource:
    """Polls a log and asks for endorsements: `unix:///path`, `http://…` or `https://…`, below which the log is.

    A keys service need not be trusted: only a head statement, which is at `head` beside the log, shows that the
    log is the newest, as of the time at which that was made. What is `trusted`, a Unix socket unless it is said
    otherwise, is believed to answer with the newest log, as hsmd-gateway does. A taint goes unnoticed for
    `interval` seconds.
    """

    def __init__(
        self, url: str, *, log_path: str = "/hsm/keys", interval: float = 0.5, trusted: bool | None = None
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
            status, _, text = self._ask("GET", self._head_path, _MAX_STATEMENT, {})
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
        headers = {"content-type": "application/json"}
        status, _, text = self._ask("POST", "/sign", _MAX_ENDORSEMENT, headers, body)
        if status != 200:
            raise Unavailable(f"{self._url}/sign answered {status}: {text[:300]}")
        return text.rstrip("\n")

    def _ask(
        self, method: str, path: str, limit: int, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, str | None, str]:
        """Status, ETag and a body of at most `limit` bytes."""
        deadline = time.monotonic() + _TIMEOUT
        connection = self._connection()
        try:
            connection.request(method, self._folder() + path, body, headers)
            answer = http.client.HTTPResponse(cast(socket.socket, _Reader(connection.sock, deadline)), method=method)
            answer.begin()
            return answer.status, answer.getheader("etag"), _body(answer, limit).decode()
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            raise Unavailable(f"{self._url}{path} does not answer: {error}") from error
        finally:
            connection.close()

    def _folder(self) -> str:
        """The path that a URL has of its own; that of a Unix socket is the socket's."""
        parts = urlsplit(self._url)
        return "" if parts.scheme == "unix" else parts.path

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
            status, etag_now, text = self._source._ask("GET", self._path, _MAX_LOG, headers)
            if status != 304 or head is None:
                if status != 200:
                    raise Unavailable(f"{self._source._url}{self._path} answered {status}")
                etag, found = etag_now, list[str]()
                # Those before `start` are known; what changed since the last answer is judged by the log.
                for number, entry in enumerate(entries(text)):
                    found.append(entry)
                    if number >= self._start and known[number : number + 1] != [entry]:
                        yield Received(*read_entry(entry))
                known, head = found, _newest(found, self._source._trusted)
            yield head
            if not self._source._trusted:
                yield self._source._statement()
            self._cancelled.wait(self._interval)

    def cancel(self) -> None:
        self._cancelled.set()


def _newest(found: list[str], trusted: bool) -> Head:
    """What a log calls its newest event; whether it is one was judged before."""
    last = read_object(read_entry(found[-1])[0]) if found else {}
    return Head(str(last.get("id")), len(found) - 1, authenticated=trusted)


def _body(answer: http.client.HTTPResponse, limit: int) -> bytes:
    """A body that is not longer than `limit`. `read(limit)` may be: after a chunk size of -1 it reads all there is."""
    body = bytearray()
    while piece := answer.read1(_MAX_PIECE):
        body += piece
        if len(body) > limit:
            raise OSError(f"the answer is longer than {limit} bytes")
    return bytes(body)


class _Reader(io.RawIOBase):
    """What http.client reads an answer from: a socket, until a deadline. The socket's own timeout begins anew
    with each byte.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no whole answer within {_TIMEOUT} s")
        self._socket.settimeout(left)
        return self._socket.recv_into(buffer)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
