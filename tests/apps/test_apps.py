"""A device among the applications of all languages, beside the development installation in HSMD_DEV."""

import gzip
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import hsmd_client as hsmd
from device import APPS, Device, Refused, ask, instant, new_nonce, packed, sealed, unpacked

ROOT = Path(__file__).resolve().parents[2]
ENDORSED_WITHIN = 60


def operate(*command):
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise AssertionError(f"{command}: {ended.stdout}{ended.stderr}")


def error(code, message):
    return {"error": {"code": code, "message": message, "context": {}}}


class Apps(unittest.TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp(prefix="hsmd-apps.")
        self.addCleanup(shutil.rmtree, folder)
        self.device = Device(folder)

    def assert_served(self):
        for name, url in APPS.items():
            with self.subTest(name):
                expected = {"wasFoo": "bar", "wasBar": "foo", "serverName": name}
                self.assertEqual(self.device.access(url), expected)

    def assert_served_soon(self):
        """After a taint requests are refused until all keys are endorsed anew."""
        for url in APPS.values():
            end = time.monotonic() + ENDORSED_WITHIN
            while True:
                try:
                    self.device.access(url)
                    break
                except Refused:
                    if time.monotonic() > end:
                        raise
        self.assert_served()

    def test_each_serves_a_device_through_rotate_taint_and_red_button(self):
        self.assert_served()
        operate("hsmctl", "rotate", "--reason", "the applications' test")
        self.assert_served()
        operate("hsmctl", "taint", "--reason", "the applications' test")
        self.assert_served_soon()
        # Ends when every service, these applications included, has a new endorsement that is published.
        operate(ROOT / "scripts/red-button", "--yes", "--reason", "the applications' test")
        self.assert_served()

    def test_service_keys_are_purged_and_made_anew(self):
        operate(ROOT / "scripts/purge-keys-and-roll-services", "--yes")
        with self.assertRaisesRegex(Refused, "server key is not endorsed"):
            self.device.access(APPS["python"])
        self.device.run("session")
        self.assert_served()

    def test_a_request_is_used_up_for_all(self):
        for first, one in APPS.items():
            request = self.device.request()
            self.assertEqual(ask(one, request)[0], 200)
            for second, other in APPS.items():
                with self.subTest(first=first, second=second):
                    self.assertEqual(ask(other, request), (422, error("BA501", "the request is stale")))

    def test_a_revoked_device_is_refused(self):
        self.assert_served()
        self.device.run("unlink")
        for name, url in APPS.items():
            with self.subTest(name):
                self.assertEqual(ask(url, self.device.request()), (403, {"error": "device revoked"}))

    def test_what_devices_may_vary_is_accepted(self):
        variants = {
            "nine digits": lambda: {"timestamp": instant(digits=9)},
            "a little late": lambda: {"timestamp": instant(-10)},
            "a little early": lambda: {"timestamp": instant(2)},
            "the other order": lambda: {"request": '{"bar":"foo","foo":"bar"}'},
        }
        for name, url in APPS.items():
            for what, changed in variants.items():
                with self.subTest(name, what=what):
                    status, reply = ask(url, self.device.request(**changed()))
                    self.assertEqual(status, 200, reply)
                    self.assertEqual(reply["payload"]["response"]["wasFoo"], "bar")
            with self.subTest(name, what="any text"):
                request = '{"foo":"\\u0041 \\"ü\\" \u2028","bar":"\\\\"}'
                reply = ask(url, self.device.request(request=request))[1]
                self.assertEqual(reply["payload"]["response"]["wasFoo"], 'A "ü" \u2028')

    def test_they_refuse_what_the_rust_application_refuses_for_the_same_reason(self):
        refused = {}
        for what, body in self.damaged().items():
            expected = ask(APPS["rust"], body)
            refused.setdefault(expected[0], []).append(what)
            for name in ("python", "typescript"):
                with self.subTest(name, what=what):
                    self.assertEqual(ask(APPS[name], body), expected)
        self.assertEqual(set(refused), {400, 401, 413, 422}, refused)
        for method, path in [("GET", "/foo/bar"), ("POST", "/foo"), ("GET", "/")]:
            expected = ask(APPS["rust"], "", method, path)
            for name in ("python", "typescript"):
                with self.subTest(name, method=method, path=path):
                    self.assertEqual(ask(APPS[name], "", method, path), expected)

    def damaged(self):
        """Requests that must be refused before their nonce is used up, by what is wrong with them."""
        device = self.device
        good = device.request()
        payload, signature = good.removeprefix('{"payload":').removesuffix('"}').split(',"signature":"')
        token = device.token
        by, text = unpacked(token)
        other = hsmd.sign(device.key(), "another text")
        nonce = f'"nonce":"{new_nonce()}"'
        stamp, bearer = f'"timestamp":"{instant()}"', f'"token":"{token}"'
        changed_token = by[:-1] + ("A" if by[-1] != "A" else "B")
        response_key = ask(APPS["python"], "", "GET", "/health")[1]["responseKey"]
        server = text.split('"', 4)[3]
        later = re.sub(r'("expiry":"[^"]*)Z"', r'\g<1>9Z"', text)
        return {
            "nothing": "",
            "no JSON": "hello",
            "no object": "[]",
            "no members": "{}",
            "not UTF-8": b'{"payload":"\xff"}',
            "a byte order mark": b"\xef\xbb\xbf" + good.encode(),
            "something after it": good + "x",
            "too long": " " * (70 << 10),
            "too deep": sealed('{"access":' + "[" * 40 + "]" * 40 + "}", signature),
            "an unknown member": good[:-1] + ',"more":1}',
            "a double member": good[:-1] + f',"signature":"{signature}"}}',
            "no signature": f'{{"payload":{payload}}}',
            "a short signature": sealed(payload, signature[:-4]),
            "another signature": sealed(payload, other),
            "s is zero": sealed(payload, signature[:45] + "A" * 43),
            "a blank in the payload": sealed(payload[:-1] + " }", signature),
            "another request": good.replace('"foo":"bar"', '"foo":"baz"'),
            "another nonce": device.request().replace('"nonce":"0A', '"nonce":"0B', 1),
            "an unknown member of the payload": device.request(payload=payload[:-1] + ',"more":1}'),
            "an unknown member of access": device.request(access=f'{{{nonce},{stamp},{bearer},"more":1}}'),
            "access out of order": device.request(access=f"{{{stamp},{nonce},{bearer}}}"),
            "access without a nonce": device.request(access=f"{{{stamp},{bearer}}}"),
            "a nonce that is none": device.request(nonce="0A"),
            "a time that is none": device.request(timestamp="2026-02-30T00:00:00.000Z"),
            "a time with two digits": device.request(timestamp=instant(digits=2)),
            "a time with ten digits": device.request(timestamp=instant(digits=10)),
            "a stale request": device.request(timestamp=instant(-40)),
            "a request from the future": device.request(timestamp=instant(40)),
            "no token": device.request(token="x"),
            "half a token": device.request(token=token[:200]),
            "a padded token": device.request(token=token + "="),
            "a token with something after it": device.request(token=packed(by, text, b"\0\0\0")),
            "a token of two members": device.request(token=packed(by, text[:50], gzip.compress(text[50:].encode()))),
            "a token with an empty member after it": device.request(token=packed(by, text, gzip.compress(b""))),
            "a token that unfolds to too much": device.request(token=packed(by, " " * (20 << 10))),
            "a token that is not UTF-8": device.request(token=packed(by, b'{"\xff":1}')),
            "a token with a blank": device.request(token=packed(by, text[:-1] + " }")),
            "a token with an unknown member": device.request(token=packed(by, text[:-1] + ',"more":1}')),
            "a token out of order": device.request(token=packed(by, swapped(text))),
            "a token with another signature": device.request(token=changed_token + token[88:]),
            "a token with another expiry": device.request(token=packed(by, later)),
            "a token by a response key": device.request(token=packed(by, text.replace(server, response_key))),
            "a token by no key": device.request(token=packed(by, text.replace(server, server[:-1]))),
        }


def swapped(text):
    """The first two members of a token in the other order."""
    first, second, rest = text[1:].split(",", 2)
    return f"{{{second},{first},{rest}"


if __name__ == "__main__":
    unittest.main()
