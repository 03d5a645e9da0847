#!/usr/bin/env python3
"""A plain gRPC client of hsmd: nothing but grpcio and code generated from proto/.

    HSMD_ENDPOINT=unix:///… grpc_client.py endorse PURPOSE PUBLIC_KEY SECONDS
    HSMD_ENDPOINT=unix:///… grpc_client.py log

Prints what is published: `{"body":…,"signature":…}`, or the key log as a JSON array.
"""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import grpc
import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
NAMES = ("signer", "keylog", "admin")


def generate(folder):
    """Generates the client code into a folder and makes it importable."""
    known = Path(grpc_tools.__file__).parent / "_proto"
    files = [f"hsmd/v1/{name}.proto" for name in NAMES]
    command = [f"-I{PROTO}", f"-I{known}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *command, *files]) != 0:
        raise SystemExit("protoc failed")
    sys.path.insert(0, str(folder))


class Client:
    """The service listener's calls. The generated code lives as long as the client."""

    def __init__(self, endpoint):
        self._generated = tempfile.TemporaryDirectory(prefix="hsmd-interop.")
        generate(self._generated.name)
        self.signer_pb2 = import_module("hsmd.v1.signer_pb2")
        self.keylog_pb2 = import_module("hsmd.v1.keylog_pb2")
        # For a Unix socket grpcio sends its path, percent-encoded, as the authority, which Rust's h2
        # refuses with PROTOCOL_ERROR; other languages send "localhost".
        self._channel = grpc.insecure_channel(endpoint, [("grpc.default_authority", "localhost")])
        self.signer = import_module("hsmd.v1.signer_pb2_grpc").SignerStub(self._channel)
        self.keylog = import_module("hsmd.v1.keylog_pb2_grpc").KeyLogStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()
        self._generated.cleanup()

    def endorse(self, purpose, public_key, seconds):
        """An endorsement as it is published."""
        request = self.signer_pb2.EndorseRequest(purpose=purpose, public_key=public_key)
        request.ttl.FromSeconds(seconds)
        return published(self.signer.Endorse(request, timeout=10).endorsement)

    def sign(self, payload):
        """A signed document as it is published."""
        request = self.signer_pb2.SignRequest(payload=payload.encode())
        return published(self.signer.Sign(request, timeout=10).signed)

    def log(self):
        """The whole key log as it is published."""
        entries, following, head = [], 0, 0
        while following <= head:
            request = self.keylog_pb2.ListEventsRequest(from_sequence=following, page_size=2)
            page = self.keylog.ListEvents(request, timeout=10)
            entries += [f'{{"payload":{e.text},"signature":"{e.signature}"}}' for e in page.events]
            following, head = page.next_sequence, page.head_sequence_number
        return "[" + ",".join(entries) + "]"


def published(signed):
    """`{"body":…,"signature":…}` around the exact bytes that were signed."""
    return f'{{"body":{signed.body.decode()},"signature":"{signed.signature}"}}'


def main(arguments):
    with Client(os.environ["HSMD_ENDPOINT"]) as client:
        match arguments:
            case ["endorse", purpose, public_key, seconds]:
                print(client.endorse(purpose, public_key, int(seconds)))
            case ["log"]:
                print(client.log())
            case _:
                print(__doc__, file=sys.stderr)
                return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
