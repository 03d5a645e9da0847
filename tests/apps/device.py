"""hsmd-device, and requests that it would not make: signed with its access key, wrong in one thing each."""

import base64
import gzip
import http.client
import json
import os
import secrets
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

import hsmd_client as hsmd

# The applications by the names that their replies carry.
APPS = {
    "rust": os.environ["HSMD_APP_URL"],
    "python": os.environ["HSMD_APP_PYTHON_URL"],
    "typescript": os.environ["HSMD_APP_TYPESCRIPT_URL"],
}


class Refused(Exception):
    """The device did not get a reply that it believes."""


class Device:
    """A user's device with an account and a session."""

    def __init__(self, folder):
        self._state = Path(folder) / "device.json"
        self.run("create", "--recovery", str(Path(folder) / "recovery.json"))
        self.run("session")

    def run(self, *arguments):
        command = ["hsmd-device", "--state", self._state, *arguments]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode != 0:
            raise Refused(ended.stderr)
        return ended.stdout

    def access(self, url):
        """The verified response of an application."""
        return json.loads(self.run("access", "--app", url))

    @property
    def token(self):
        return json.loads(self._state.read_text())["session"]["token"]

    def key(self):
        text = json.loads(self._state.read_text())["session"]["keys"][0]
        number = int.from_bytes(base64.urlsafe_b64decode(text + "="), "big")
        return ec.derive_private_key(number, ec.SECP256R1())

    def request(self, *, timestamp=None, nonce=None, token=None, access=None, request=None, payload=None):
        """A signed request; what is given stands in it instead of what belongs there."""
        nonce, timestamp = nonce or new_nonce(), timestamp or instant()
        access = access or f'{{"nonce":"{nonce}","timestamp":"{timestamp}","token":"{token or self.token}"}}'
        request = request or '{"foo":"bar","bar":"foo"}'
        payload = payload or f'{{"access":{access},"request":{request}}}'
        return sealed(payload, hsmd.sign(self.key(), payload))


def sealed(payload, signature):
    return f'{{"payload":{payload},"signature":"{signature}"}}'


def new_nonce():
    text = base64.urlsafe_b64encode(bytes(2) + secrets.token_bytes(16)).decode()
    return "0A" + text[2:]


def instant(seconds=0, digits=3):
    at = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[: 20 + min(digits, 6)] + "0" * (digits - 6) + "Z"


def unpacked(token):
    """A token's signature and the JSON that it covers."""
    return token[:88], gzip.decompress(base64.urlsafe_b64decode(token[88:] + "=" * (-len(token[88:]) % 4))).decode()


def packed(signature, text, after=b""):
    data = gzip.compress(text.encode() if isinstance(text, str) else text) + after
    return signature + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ask(url, body, method="POST", path="/foo/bar"):
    """Status and JSON of an answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        body = body.encode() if isinstance(body, str) else body
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
