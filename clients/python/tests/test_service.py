"""A Python service beside the development installation in HSMD_DEV: endorsed through rotation and taint."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

import hsmd_client as hsmd
from hsmd_client.connection import connect, now
from test_token import jwk


def change(what):
    subprocess.run(["hsmctl", what, "--reason", "the Python client's test"], check=True, capture_output=True)


def redis(*words):
    socket = os.environ["HSMD_REDIS_SOCKET"]
    return subprocess.check_output(["redis-cli", "-s", socket, "-n", "1", *words], text=True)


class Service(unittest.TestCase):
    def setUp(self):
        self.channel = connect(os.environ["HSMD_ENDPOINT"])
        self.addCleanup(self.channel.close)
        self.log = hsmd.FollowedLog(self.channel, os.environ["HSMD_IDENTITY"], max_staleness=20).start()
        self.addCleanup(self.log.close)
        self.assertTrue(self.log.wait(lambda log: bool(log.events), 30))

    def endorser(self):
        self.published = []
        endorser = hsmd.Endorser(
            self.channel, self.log, purpose="response", ttl=3600, publish=self.published.append
        ).start()
        self.addCleanup(endorser.close)
        endorser.wait(30)
        return endorser

    def follow(self, endorser, generation):
        """Waits until the key is endorsed by another generation than this one."""
        self.assertTrue(self.log.wait(lambda log: log.head.id != generation, 30))
        for _ in range(300):
            try:
                current = endorser.current()
                if current.generation_id != generation:
                    return current
            except hsmd.Unavailable:
                pass
            with endorser._changed:
                endorser._changed.wait(0.1)
        self.fail("not endorsed anew")

    def test_a_key_stays_endorsed_through_rotation_and_taint(self):
        endorser = self.endorser()
        first = endorser.current()
        signature = endorser.sign("a reply")
        hsmd.verify(endorser.public_key, "a reply", signature)
        change("rotate")
        second = self.follow(endorser, first.generation_id)
        # A rotation leaves what was endorsed before valid; a taint does not.
        self.log.verify_endorsement(first.text, purpose="response", key=endorser.public_key)
        change("taint")
        third = self.follow(endorser, second.generation_id)
        with self.assertRaisesRegex(hsmd.Refused, "tainted"):
            self.log.verify_endorsement(second.text, purpose="response", key=endorser.public_key)
        self.log.verify_endorsement(third.text, purpose="response", key=endorser.public_key)
        self.assertEqual([e.generation_id for e in self.published][-1], third.generation_id)
        # The daemon's own tools believe it, offline.
        folder = Path(os.environ["HSMD_DEV"])
        (folder / "python.json").write_text(third.text)
        log = subprocess.check_output(["hsmctl", "log", "--json"], text=True)
        (folder / "python-log.json").write_text(log)
        arguments = ["--log", folder / "python-log.json", "--signed", folder / "python.json"]
        subprocess.run(["hsmctl", "verify", *arguments], check=True, capture_output=True)

    def test_what_services_in_each_language_published_verifies_here(self):
        listed = redis("--scan", "--pattern", "1AAI*").split()
        for name in ("HSMD_APP_URL", "HSMD_APP_PYTHON_URL", "HSMD_APP_TYPESCRIPT_URL"):
            with urllib.request.urlopen(os.environ[name] + "/health", timeout=10) as answer:
                self.assertIn(json.load(answer)["responseKey"], listed, name)
        for key in listed:
            text = redis("get", key).removesuffix("\n")
            self.log.verify_endorsement(text, purpose="response", key=key)

    def test_a_log_over_http_is_followed(self):
        source = hsmd.HttpSource(os.environ["HSMD_KEYS_URL"], interval=0.1)
        polled = hsmd.FollowedLog(source, os.environ["HSMD_IDENTITY"]).start()
        self.addCleanup(polled.close)
        self.assertTrue(polled.wait(lambda log: log.head.id == self.log.head().id, 30))
        before = polled.head().sequence_number
        change("rotate")
        self.assertTrue(polled.wait(lambda log: log.head.sequence_number > before, 30))

    def test_a_token_by_a_key_that_hsmd_endorsed_verifies_in_pyjwt(self):
        with hsmd.Endorser(self.channel, self.log, purpose="jwt", ttl=3600) as endorser:
            endorsed = endorser.wait(30)
            token = endorser.sign_token({"sub": "ann"})
            kid = jwt.get_unverified_header(token)["kid"]
            self.log.verify_endorsement(endorsed.text, purpose="jwt", key=kid)
            self.assertEqual(jwt.decode(token, jwk(kid), algorithms=["ES256"])["sub"], "ann")

    def test_a_token_verifies_in_pyjwt_by_the_keys_services_list_until_a_taint(self):
        def publish(one):
            redis("set", one.public_key, one.text, "pxat", str(one.expiration))

        def listed(token):
            try:
                return jwt.PyJWKClient(os.environ["HSMD_KEYS_URL"] + "/jwks").get_signing_key_from_jwt(token).key
            # No key, or none of any kind.
            except (jwt.PyJWKClientError, jwt.PyJWKSetError):
                return None

        def until(met):
            end = now() + 30_000
            while not met():
                self.assertLess(now(), end)
                time.sleep(0.1)

        with hsmd.Endorser(self.channel, self.log, purpose="jwt", ttl=3600, publish=publish) as endorser:
            endorser.wait(30)
            # Other tests take each key there for one of purpose response.
            self.addCleanup(redis, "del", endorser.public_key)
            token = endorser.sign_token({"sub": "ann"})
            until(lambda: listed(token))
            self.assertEqual(jwt.decode(token, listed(token), algorithms=["ES256"])["sub"], "ann")
        change("taint")
        until(lambda: listed(token) is None)

    def test_tls_files_are_read_again_when_they_change(self):
        dev = Path(os.environ["HSMD_DEV"])
        folder = Path(tempfile.mkdtemp(prefix="hsmd-python."))
        self.addCleanup(shutil.rmtree, folder)

        def certify(name):
            for kind in ("pem", "key"):
                shutil.copy(dev / f"tls/{name}.{kind}", folder / f"own.{kind}")

        certify("keys")
        endpoint = re.search('endpoint = "(https:[^"]*)"', (dev / "app.toml").read_text()).group(1)
        channel = connect(
            endpoint,
            ca_file=str(dev / "tls/ca.pem"),
            certificate_file=str(folder / "own.pem"),
            key_file=str(folder / "own.key"),
            server_name="localhost",
        )
        self.addCleanup(channel.close)
        with hsmd.FollowedLog(channel, os.environ["HSMD_IDENTITY"]) as log:
            self.assertTrue(log.wait(lambda log: bool(log.events), 30))
            key = hsmd.public_key_text(ec.generate_private_key(ec.SECP256R1()).public_key())
            # The keys service may read the log and endorse nothing; app may.
            with self.assertRaisesRegex(hsmd.Unavailable, "PERMISSION_DENIED"):
                channel.endorse("response", key, 3600)
            certify("app")
            log.verify_endorsement(channel.endorse("response", key, 3600), purpose="response", key=key)

    def test_a_silent_daemon_makes_the_log_stale(self):
        quick = hsmd.FollowedLog(self.channel, os.environ["HSMD_IDENTITY"], max_staleness=6).start()
        self.addCleanup(quick.close)
        self.assertTrue(quick.wait(lambda log: bool(log.events), 30))
        daemon = int((Path(os.environ["HSMD_DEV"]) / "hsmd.pid").read_text())
        os.kill(daemon, signal.SIGSTOP)
        try:
            # Nothing notifies of silence: the log is asked until it says so.
            end = now() + 30_000
            with self.assertRaises(hsmd.Stale):
                while now() < end:
                    quick.head()
        finally:
            os.kill(daemon, signal.SIGCONT)
        self.assertTrue(quick.wait(lambda log: bool(log.events), 30))

    def test_another_identity_is_never_believed(self):
        stranger = hsmd.FollowedLog(self.channel, "E" + "A" * 43).start()
        self.addCleanup(stranger.close)
        said = ""
        end = now() + 30_000
        while "another identity" not in said:
            self.assertLess(now(), end, said)
            self.assertFalse(stranger.wait(lambda log: True, 0.5))
            with self.assertRaises(hsmd.Stale) as stale:
                stranger.head()
            said = str(stale.exception)


if __name__ == "__main__":
    unittest.main()
