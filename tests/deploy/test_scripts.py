"""The operator's scripts on bad days, on the development installation in HSMD_DEV with its services.

Half of the work must never pass for the whole: each case looks at the exit code, at what was said, and
at what was done.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

from stubs import ROOT, Scripts, programs, run, soon

DEV = pathlib.Path(os.environ["HSMD_DEV"])


def pid(name):
    return int((DEV / f"{name}.pid").read_text())


@contextlib.contextmanager
def stopped(name):
    """A process that holds its connections and answers nothing."""
    os.kill(pid(name), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid(name), signal.SIGCONT)


def events():
    log = subprocess.check_output(["hsmctl", "log", "--json"], text=True)
    payloads = [entry["payload"] for entry in json.loads(log)]
    return [json.loads(text) if isinstance(text, str) else text for text in payloads]


def redis(*words):
    socket = os.environ["HSMD_REDIS_SOCKET"]
    return subprocess.check_output(["redis-cli", "-s", socket, *words], text=True).strip()


def accounts(path, headers, body=None):
    """An answer of the accounts service, and its cookie."""
    request = urllib.request.Request(f"{os.environ['HSMD_ACCOUNTS_URL']}/api/auth{path}", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer), (answer.headers["set-cookie"] or "").partition(";")[0]


def sign_up():
    body = {"name": "Ann", "email": f"ann-{time.time_ns()}@example.com", "password": "correct horse"}
    headers = {"content-type": "application/json", "origin": os.environ["HSMD_ACCOUNTS_ORIGIN"]}
    return accounts("/sign-up/email", headers, json.dumps(body).encode())[1]


def session(cookie):
    return accounts("/get-session", {"cookie": cookie})[0]


def accounts_kids():
    return {key["kid"] for key in accounts("/jwks", {})[0]["keys"]}


def dead(kids):
    """Whether none of these keys is listed; not known while new ones wait for their endorsement."""
    try:
        return kids.isdisjoint(accounts_kids())
    except urllib.error.HTTPError as error:
        assert error.code == 503, error
        return False


@contextlib.contextmanager
def publisher(key):
    """Publishes a key again and again."""
    enough = threading.Event()
    words = ["-n", "1", "set", key, '{"body":{"payload":{"purpose":"response"}}}']

    def publish():
        while not enough.wait(0.2):
            redis(*words)

    thread = threading.Thread(target=publish)
    redis(*words)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
        redis("-n", "1", "del", key)


class BadDays(Scripts):
    def tearDown(self):
        subprocess.run([ROOT / "scripts/dev", "up", "--all"], check=True, capture_output=True)

    def test_purge_does_nothing_while_redis_cannot_be_listed(self):
        keys, auth = redis("-n", "0", "dbsize"), pid("auth-1")
        with stopped("redis"):
            code, said = run("purge-keys-and-roll-services", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("Redis 0 can't be listed", said)
        self.assertIn("nothing was done", said)
        self.assertEqual((redis("-n", "0", "dbsize"), pid("auth-1")), (keys, auth))

    def test_purge_takes_no_service_out_while_hsmd_is_away(self):
        auth = pid("auth-1")
        with stopped("hsmd"):
            code, said = run("purge-keys-and-roll-services", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("hsmd does not answer", said)
        self.assertIn("nothing was done", said)
        self.assertNotIn("reset", said)
        self.assertEqual(pid("auth-1"), auth)

    def test_purge_ends_beside_a_publisher_that_it_does_not_know(self):
        with publisher("1AAIforeign"):
            code, said = run("purge-keys-and-roll-services", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("1AAIforeign, purpose response", said)
        self.assert_done("every service restarted with new keys", said)
        self.assertIn("NOT done: old keys purged", said)

    def test_the_red_button_goes_on_after_a_failure_without_a_second_taint(self):
        before = events()[-1]["id"]
        with stopped("redis"):
            code, said = run("red-button", "--yes")
        self.assertEqual(code, 1, said)
        self.assert_done("tainted", said)
        self.assertIn("NOT done: published keys purged", said)
        self.assertIn(f"--expected {before}", said)
        tainted = events()
        self.assertTrue(tainted[-1]["taintPrevious"])
        code, said = run("red-button", "--yes", "--expected", before)
        self.assertEqual(code, 0, said)
        self.assertIn("nothing was replaced now", said)
        self.assertEqual(events(), tainted)

    def test_the_service_that_does_not_answer_is_named(self):
        for script in (["red-button", "--yes"], ["rotate-hsm-key"]):
            with self.subTest(script=script), stopped("auth-1"):
                code, said = run(*script)
                self.assertEqual(code, 1, said)
                self.assertIn("auth-1 (no answer)", said)
                self.assertNotIn("auth-2", said)
        os.kill(pid("app"), signal.SIGTERM)
        code, said = run("red-button", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("app (no answer)", said)

    def test_nothing_is_tainted_while_hsmd_is_away(self):
        before = events()
        with stopped("hsmd"):
            code, said = run("red-button", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("nothing was done", said)
        self.assertEqual(events(), before)

    def test_ending_the_sessions_taints_first_and_removes_the_old_keys_last(self):
        old = set(redis("-n", "0", "--scan", "--pattern", "1AAI*").splitlines())
        cookie, kids = sign_up(), accounts_kids()
        self.assertIsNotNone(session(cookie))
        code, said = run("red-button", "--yes", "--end-sessions")
        self.assertEqual(code, 0, said)
        self.assertIsNone(session(cookie))
        self.assertTrue(kids and soon(lambda: dead(kids)), kids)
        steps = ["tainted:", "every service restarted with new keys:", "old keys purged:",
                 "accounts' signing keys withdrawn:", "accounts' sessions ended:"]
        places = [said.index(step) for step in steps]
        self.assertEqual(places, sorted(places))
        new = set(redis("-n", "0", "--scan", "--pattern", "1AAI*").splitlines())
        self.assertTrue(old and new and not old & new)

    def test_a_rotation_shows_the_new_public_key_and_needs_no_curl(self):
        old = events()[-1]["id"]
        with programs(curl="exit 127") as played:
            code, said = run("rotate-hsm-key", **played)
        self.assertEqual(code, 0, said)
        self.assertIn(f"its public key is {events()[-1]['publicKey']}", said)
        # Before the change, for whom an end by force leaves without the last lines.
        self.assertIn(f"generation {old} is to be replaced", said)


if __name__ == "__main__":
    unittest.main()
