"""A gRPC channel to hsmd: a Unix socket, or TLS with a client certificate."""

from __future__ import annotations

import time
from pathlib import Path

import grpc

# Over a Unix socket grpcio would send the socket's path as authority, which HTTP/2 in Rust refuses.
_OPTIONS = [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", 4 << 20)]


def connect(
    endpoint: str,
    *,
    ca_file: str | None = None,
    certificate_file: str | None = None,
    key_file: str | None = None,
    server_name: str | None = None,
) -> grpc.Channel:
    """`unix:///path`, or `https://host:port` with the files of mutual TLS, read once."""
    if endpoint.startswith("unix:"):
        return grpc.insecure_channel(endpoint, options=_OPTIONS)
    if not endpoint.startswith("https://"):
        raise ValueError(f"endpoint {endpoint!r} is neither unix:… nor https://…")
    if not (ca_file and certificate_file and key_file):
        raise ValueError("an https endpoint takes ca_file, certificate_file and key_file")
    credentials = grpc.ssl_channel_credentials(
        Path(ca_file).read_bytes(), Path(key_file).read_bytes(), Path(certificate_file).read_bytes()
    )
    options = [option for option in _OPTIONS if option[0] != "grpc.default_authority"]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.secure_channel(endpoint.removeprefix("https://"), credentials, options=options)


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
