"""A gRPC channel to hsmd: a Unix socket, or TLS with a client certificate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from ._proto.hsmd.v1 import keylog_pb2, keylog_pb2_grpc, signer_pb2, signer_pb2_grpc
from .errors import Unavailable
from .source import Head, Received

# A peer that answers no ping is gone, whatever TCP says.
_OPTIONS = [
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5000),
]
_DEADLINE = 10


def connect(
    endpoint: str,
    *,
    ca_file: str | None = None,
    certificate_file: str | None = None,
    key_file: str | None = None,
    server_name: str | None = None,
) -> Channel:
    """`unix:///path`, or `https://host:port` with the files of mutual TLS, read again when they change."""
    if endpoint.startswith("unix:"):
        # Over a Unix socket grpcio would send the socket's path as authority, which HTTP/2 in Rust refuses.
        return Channel(endpoint, [*_OPTIONS, ("grpc.default_authority", "localhost")], None)
    if not endpoint.startswith("https://"):
        raise ValueError(f"endpoint {endpoint!r} is neither unix:… nor https://…")
    if not (ca_file and certificate_file and key_file):
        raise ValueError("an https endpoint takes ca_file, certificate_file and key_file")
    options = [*_OPTIONS, ("grpc.ssl_target_name_override", server_name)] if server_name else _OPTIONS
    files = (Path(ca_file), Path(key_file), Path(certificate_file))
    return Channel(endpoint.removeprefix("https://"), options, files)


class Channel:
    """The log and endorsements of a daemon. A changed TLS file makes a new connection for the next call."""

    def __init__(self, target: str, options: list[tuple[str, Any]], files: tuple[Path, Path, Path] | None) -> None:
        self._target = target
        self._options = options
        self._files = files
        self._lock = threading.Lock()
        self._read: list[bytes] | None = None
        self._channel: grpc.Channel | None = None
        # One for each call.
        self._in_use: list[grpc.Channel] = []

    def close(self) -> None:
        """Ends all calls."""
        with self._lock:
            channels = [self._channel, *self._in_use]
            self._channel, self._in_use = None, []
        for channel in channels:
            if channel is not None:
                channel.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self, start: int) -> _Watch:
        """The daemon's log from event `start` on, as it grows."""
        return _Watch(self, start)

    def endorse(self, purpose: str, public_key: str, ttl: float) -> str:
        """The text of a new endorsement; `ttl` in seconds."""
        milliseconds = int(ttl * 1000)
        duration = Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)
        request = signer_pb2.EndorseRequest(purpose=purpose, public_key=public_key, ttl=duration)
        channel = self._begin()
        try:
            stub = signer_pb2_grpc.SignerStub(channel)
            signed = stub.Endorse(request, timeout=_DEADLINE).endorsement
        except grpc.RpcError as error:
            raise _said(error) from error
        finally:
            self._end(channel)
        return f'{{"body":{signed.body.decode()},"signature":"{signed.signature}"}}'

    def _begin(self) -> grpc.Channel:
        """The channel for a call. It stays open until `_end`, whatever becomes of the files."""
        with self._lock:
            read = [path.read_bytes() for path in self._files] if self._files else []
            if self._channel is None or read != self._read:
                replaced, self._channel = self._channel, self._open(read)
                self._read = read
                if replaced is not None and replaced not in self._in_use:
                    replaced.close()
            self._in_use.append(self._channel)
            return self._channel

    def _open(self, read: list[bytes]) -> grpc.Channel:
        if not read:
            return grpc.insecure_channel(self._target, options=self._options)
        return grpc.secure_channel(
            self._target, grpc.ssl_channel_credentials(*read), options=self._options
        )

    def _end(self, channel: grpc.Channel) -> None:
        with self._lock:
            if channel not in self._in_use:
                return
            self._in_use.remove(channel)
            unused = channel is not self._channel and channel not in self._in_use
        if unused:
            channel.close()


class _Watch:
    def __init__(self, channel: Channel, start: int) -> None:
        self._owner = channel
        self._channel = channel._begin()
        request = keylog_pb2.WatchEventsRequest(from_sequence=start)
        self._call = keylog_pb2_grpc.KeyLogStub(self._channel).WatchEvents(request)

    def __iter__(self) -> Iterator[Received | Head]:
        try:
            for message in self._call:
                if message.HasField("event"):
                    yield Received(message.event.text, message.event.signature)
                else:
                    beat = message.heartbeat
                    yield Head(beat.head_id, beat.head_sequence_number, authenticated=True)
        except grpc.RpcError as error:
            raise _said(error) from error
        finally:
            self._call.cancel()
            self._owner._end(self._channel)

    def cancel(self) -> None:
        self._call.cancel()


def _said(error: grpc.RpcError) -> Unavailable:
    return Unavailable(f"{error.code().name}: {error.details()}")


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
