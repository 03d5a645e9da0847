"""The gRPC channel, where nothing answers: which connection a call gets when the TLS files change."""

import shutil
import tempfile
import threading
import unittest
from pathlib import Path

import grpc

import hsmd_client as hsmd
from hsmd_client.connection import connect
from mirror import GOLDEN

KEY = GOLDEN[0].public_key


class Interrupted:
    """A lock; what `then` does comes right after it is released for the first time."""

    def __init__(self, then):
        self._lock = threading.Lock()
        self._then = then

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        then, self._then = self._then, None
        if then:
            then()


class ChangedFiles(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hsmd-python."))
        self.addCleanup(shutil.rmtree, self.folder)
        files = {name: self.folder / name for name in ("ca_file", "certificate_file", "key_file")}
        self.write(files.values(), "one")
        self.channel = connect("https://127.0.0.1:1", **{name: str(path) for name, path in files.items()})
        self.addCleanup(self.channel.close)
        # The files are no certificates, which gRPC would print.
        self.channel._open = lambda _read: grpc.insecure_channel("127.0.0.1:1")

        def change():
            self.write(files.values(), "other")
            with self.assertRaises(hsmd.Unavailable):
                self.channel.endorse("response", KEY, 60)

        self.channel._lock = Interrupted(change)

    def write(self, paths, text):
        for path in paths:
            path.write_text(text)

    def test_a_call_that_begins_keeps_its_connection(self):
        with self.assertRaises(hsmd.Unavailable):
            self.channel.endorse("response", KEY, 60)

    def test_so_does_a_watch_and_the_replaced_one_is_closed_after_it(self):
        watch = self.channel.watch(0)
        replaced = watch._channel
        self.assertIsNot(replaced, self.channel._channel)
        with self.assertRaises(hsmd.Unavailable):
            list(watch)
        with self.assertRaisesRegex(ValueError, "closed"):
            replaced.unary_unary("/any")(b"")


if __name__ == "__main__":
    unittest.main()
