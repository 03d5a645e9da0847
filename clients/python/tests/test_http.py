"""A log from an untrusted HTTP source is fresh only by a head statement, from the time at which that was made."""

import shutil
import tempfile
import threading
import unittest
from unittest import mock

import hsmd_client as hsmd
from hsmd_client.connection import now
from hsmd_client.source import NoStatement
from mirror import GOLDEN, IDENTITY, KEYS, Mirror, Talker, statement, taint

MINUTE = 60_000


class UntrustedSource(unittest.TestCase):
    def setUp(self):
        self.mirror = Mirror(GOLDEN)
        self.addCleanup(self.mirror.close)

    def follow(self, **options):
        return self.follow_source(
            hsmd.HttpSource(self.mirror.url, interval=0.02), **options
        )

    def follow_source(self, source, **options):
        log = hsmd.FollowedLog(source, IDENTITY, **options).start()
        self.addCleanup(log.close)
        return log

    def assert_stale(self, log, reason):
        """It is, and in the end for this reason: another reader may have asked before it."""
        said = ""
        for _ in range(300):
            with self.assertRaises(hsmd.Stale) as caught:
                log.fresh()
            said = str(caught.exception)
            if reason in said:
                return
            self.assertTrue(self.mirror.asked())
        self.fail(said)

    def test_a_statement_makes_the_log_fresh_and_nothing_else_does(self):
        def nothing():
            raise LookupError

        self.mirror.head, statements = nothing, self.mirror.head
        log = self.follow()
        self.assert_stale(log, "head answered 503")
        self.mirror.head = statements
        self.assertTrue(log.wait(lambda log: log.head.id == GOLDEN[3].id, 30))

    def test_the_own_gateway_is_trusted_over_a_unix_socket_or_where_that_is_said(self):
        folder = tempfile.mkdtemp(prefix="hsmd-python.")
        self.addCleanup(shutil.rmtree, folder)
        gateway = Mirror(GOLDEN, f"{folder}/gateway.sock")
        self.addCleanup(gateway.close)
        said = hsmd.HttpSource(self.mirror.url, trusted=True)
        for source in (hsmd.HttpSource(gateway.url), said):
            log = self.follow_source(source)
            self.assertTrue(log.wait(lambda log: log.head.id == GOLDEN[3].id, 30))
        self.assertEqual((gateway.count, self.mirror.count), (0, 0))

    def test_a_gateway_that_is_not_trusted_is_believed_by_its_statement(self):
        log = self.follow_source(hsmd.HttpSource(self.mirror.url, interval=0.02))
        self.assertTrue(log.wait(lambda log: log.head.id == GOLDEN[3].id, 30))
        frozen = statement(GOLDEN[3], now() - 2 * MINUTE)
        self.mirror.head = lambda: frozen
        self.assert_stale(self.follow_source(hsmd.HttpSource(self.mirror.url, interval=0.02)), "head: stale")

    def test_a_log_may_be_below_a_path_of_the_url(self):
        self.mirror.folder = "/mirror"
        log = self.follow_source(hsmd.HttpSource(f"{self.mirror.url}/mirror/", interval=0.02))
        self.assertTrue(log.wait(lambda log: log.head.id == GOLDEN[3].id, 30))

    def test_a_frozen_mirror_is_stale_whatever_it_repeats(self):
        log = self.follow(max_staleness=2)
        self.assertTrue(log.wait(lambda log: True, 30))
        frozen = statement(GOLDEN[3])
        self.mirror.head = lambda: frozen
        for _ in range(3000):
            self.assertTrue(self.mirror.asked())
            try:
                log.fresh()
            except hsmd.Stale:
                break
        self.assert_stale(log, "head: stale")
        # It was no fault of the log's.
        self.mirror.head = lambda: statement(GOLDEN[3])
        self.assertTrue(log.wait(lambda log: True, 30))

    def test_refused_statements(self):
        other = statement(GOLDEN[3])
        cases = {
            "head: stale": statement(GOLDEN[3], now() - 2 * MINUTE),
            "head: from the future": statement(GOLDEN[3], now() + 60 * MINUTE),
            "not the log's head": statement(GOLDEN[1]),
            "signature": other.replace(other[-30:-2], statement(GOLDEN[3])[-30:-2]),
            "JSON": "<html>",
        }
        # Before the log is fresh, which it would then be for a minute.
        self.mirror.head = lambda: cases["head: stale"]
        log = self.follow()
        for reason, text in cases.items():
            with self.subTest(reason):
                self.mirror.head = lambda text=text: text
                self.assert_stale(log, reason)

    def test_an_early_statement_counts_from_when_it_was_made(self):
        made = now() - MINUTE // 2
        self.mirror.head = lambda: statement(GOLDEN[3], made)
        log = self.follow()
        self.assertTrue(log.wait(lambda log: True, 30))
        self.assertGreaterEqual(log.age(), 29)
        strict = self.follow(max_staleness=20)
        self.assert_stale(strict, "head: stale")

    def test_who_holds_the_active_key_can_hide_what_follows_and_no_longer(self):
        self.mirror.events = GOLDEN[:3]
        log = self.follow()
        self.assertTrue(log.wait(lambda log: log.head.id == GOLDEN[2].id, 30))
        # The same key's statements prove nothing once event 3 is known, which taints it.
        self.mirror.head = lambda: statement(GOLDEN[2])
        self.mirror.events = GOLDEN
        self.assertTrue(log.wait(lambda log: log.head.id == GOLDEN[3].id, 30))
        with self.assertRaisesRegex(hsmd.Refused, "tainted"):
            log.fresh().live(GOLDEN[2].id, now(), hsmd.HOUR)
        self.assert_stale(self.follow(), "not the log's head")

    def test_a_shorter_log_is_a_rollback(self):
        log = self.follow()
        self.assertTrue(log.wait(lambda log: True, 30))
        self.mirror.events = GOLDEN[:2]
        while "source ends before event 3" not in log._problem:
            with log._changed:
                self.assertTrue(log._changed.wait(60))
        self.assertEqual(log._log.head.id, GOLDEN[3].id)

    def test_whatever_a_source_raises_the_log_is_followed_on(self):
        source = hsmd.HttpSource(self.mirror.url, interval=0.02)
        raised = [KeyError("a fault of the source's"), ValueError("another")]

        class Faulty:
            def watch(self, start):
                if raised:
                    raise raised.pop(0)
                return source.watch(start)

        with self.assertLogs("hsmd_client") as logged:
            log = self.follow_source(Faulty())
            self.assertTrue(log.wait(lambda log: log.head.id == GOLDEN[3].id, 30))
        self.assertEqual(["KeyError" in logged.output[0], "ValueError" in logged.output[1]], [True, True])

    def test_an_endorsement_over_http_lives_as_long_as_its_generation(self):
        log = self.follow()
        attempts = []

        def publish(endorsement):
            attempts.append(endorsement)
            if len(attempts) == 1:
                raise RuntimeError("the first attempt fails")

        source = hsmd.HttpSource(self.mirror.url)
        endorser = hsmd.Endorser(source, log, purpose="response", ttl=3600, publish=publish).start()
        self.addCleanup(endorser.close)
        first = endorser.wait(30)
        self.assertEqual(len(attempts), 2)
        self.mirror.endorses = False
        self.mirror.events.append(taint())
        self.assertTrue(log.wait(lambda log: log.head.sequence_number == 4, 30))
        with self.assertRaisesRegex(hsmd.Unavailable, "tainted"):
            endorser.current()
        self.mirror.endorses = True
        second = endorser.wait(30)
        self.assertNotEqual(second.generation_id, first.generation_id)
        hsmd.verify(hsmd.public_key_text(KEYS[4].public_key()), *body_and_signature(second.text))


class HostileSource(unittest.TestCase):
    """Nothing that a server sends makes a reader wait for ever, or read more than it wants."""

    def talk(self, *arguments):
        talker = Talker(*arguments)
        self.addCleanup(talker.close)
        return talker

    def assert_ends(self, function):
        """It does, without waiting for the peer."""
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        thread.join(20)
        self.assertFalse(thread.is_alive())

    @mock.patch("hsmd_client.http._TIMEOUT", 0.5)
    def test_an_answer_that_never_ends_is_given_up(self):
        ok = b"HTTP/1.1 200 OK\r\n"
        answers = {
            "status": (b"", b"H"),
            "header": (ok + b"etag: ", b"x"),
            "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            "body": (ok + b"content-length: 1000000\r\n\r\n", b" "),
            "unbounded": (ok + b"\r\n", b" "),
            "chunks": (ok + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        }
        for name, answer in answers.items():
            with self.subTest(name):
                source = hsmd.HttpSource(self.talk(*answer).url)
                found = []
                self.assert_ends(lambda: found.append(source._statement()))
                self.assertIsInstance(found[0], NoStatement)

    @mock.patch("hsmd_client.http._TIMEOUT", 0.5)
    def test_a_reader_of_one_can_be_closed(self):
        talker = self.talk(b"HTTP/1.1 200 OK\r\n\r\n", b" ")
        log = hsmd.FollowedLog(hsmd.HttpSource(talker.url), IDENTITY).start()
        self.assertTrue(talker.asked.wait(30))
        self.assert_ends(log.close)

    def test_no_answer_is_read_beyond_its_limit(self):
        kilobyte = b" " * 1024
        for name, head in {
            "length": b"content-length: 102400\r\n\r\n",
            "no length": b"\r\n",
            "a chunk": b"transfer-encoding: chunked\r\n\r\n19000\r\n",
            "a chunk of -1": b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        }.items():
            with self.subTest(name):
                talker = self.talk(b"HTTP/1.1 200 OK\r\n" + head, kilobyte, 100)
                found = hsmd.HttpSource(talker.url)._statement()
                self.assertIn("longer than 4096 bytes", getattr(found, "problem", "it was read"))


def body_and_signature(text):
    body, signature = text.removeprefix('{"body":').rsplit(',"signature":"', 1)
    return body, signature.removesuffix('"}')


if __name__ == "__main__":
    unittest.main()
