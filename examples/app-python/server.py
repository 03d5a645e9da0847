"""An application in Python behind the access tokens of hsmd-auth: `POST /foo/bar`.

    python server.py CONFIG.json
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis

import hsmd_client as hsmd
from access import LOOK_BACK, UNAVAILABLE, Refusal, foo_bar, verify
from hsmd_client.connection import connect, now
from stores import Stores, Unknown

MAX_BODY = 64 << 10
LOG = logging.getLogger("app")


class App:
    """Its own key, endorsed and published, and what it knows of others'."""

    def __init__(self, config: dict) -> None:
        self._name = config["server_name"]
        self._stores = Stores(config["redis"])
        of = dict(config["hsm"])
        identity = of.pop("identity")
        self._channel = connect(of.pop("endpoint"), **of)
        self._log = hsmd.FollowedLog(self._channel, identity).start()
        self._endorser = hsmd.Endorser(
            self._channel, self._log, purpose="response", ttl=12 * 3600, publish=self._publish
        ).start()
        self._problem = "Redis has not been asked yet"
        self._stopping = threading.Event()
        self._looking = threading.Thread(target=self._look)
        self._looking.start()

    def close(self) -> None:
        self._stopping.set()
        self._looking.join()
        self._endorser.close()
        self._log.close()
        self._channel.close()

    def answer(self, body: bytes) -> str:
        """The signed reply to a request that passed every check, or `Refusal`."""
        try:
            self._endorser.current()
            message = verify(body, now(), self._is_endorsed, self._stores.use_nonce, self._stores.is_revoked)
            foo, bar = foo_bar(message.request)
            response = compact({"wasFoo": foo, "wasBar": bar, "serverName": self._name})
            access = compact({"nonce": message.nonce, "serverIdentity": self._endorser.public_key})
            payload = f'{{"access":{access},"response":{response}}}'
            return f'{{"payload":{payload},"signature":"{self._endorser.sign(payload)}"}}'
        except (redis.RedisError, Unknown, hsmd.Stale, hsmd.Unavailable) as error:
            LOG.warning("undecided: %s", error)
            raise UNAVAILABLE from error

    def health(self) -> tuple[list[str], dict]:
        """What keeps it from answering, and facts."""
        facts = {"responseKey": self._endorser.public_key, "generationId": None}
        try:
            facts["generationId"] = self._endorser.current().generation_id
            return ([self._problem] if self._problem else []), facts
        except hsmd.Unavailable as error:
            return [str(error)], facts

    def _is_endorsed(self, key: str) -> bool:
        """Redis has the endorsements, the key log judges them."""
        text = self._stores.endorsement(key)
        try:
            if text is not None:
                self._log.verify_endorsement(text, purpose="access", key=key, window=LOOK_BACK)
            return text is not None
        except hsmd.Refused as error:
            LOG.info("refused the server key %s: %s", key, error)
            return False

    def _publish(self, endorsement: hsmd.Endorsement) -> None:
        self._stores.publish(endorsement.public_key, endorsement.text, endorsement.expiration)

    def _look(self) -> None:
        """Every second: whether Redis holds our endorsement still, and can vouch for requests."""
        while True:
            try:
                self._publish(self._endorser.current())
                self._stores.check()
                self._problem = ""
            except (redis.RedisError, Unknown, hsmd.Unavailable) as error:
                self._problem = str(error)
            if self._stopping.wait(1):
                return


def compact(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def handler(app: App) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            length = int(length) if length.isascii() and length.isdigit() else MAX_BODY + 1
            # Of a longer one a part is read all the same: an unread part would break the connection at once.
            body = self.rfile.read(min(length, 2 * MAX_BODY))
            if length > MAX_BODY:
                self.close_connection = True
                return self.refuse(Refusal(413, "BA000", "the request can't be read"))
            if self.path != "/foo/bar":
                return self.refuse(Refusal(404, "BA000", "there is nothing here"))
            try:
                self.send(200, app.answer(body))
            except Refusal as refusal:
                self.refuse(refusal)

        def do_GET(self) -> None:
            problems, facts = app.health()
            status, problem = (503, {"problems": problems}) if problems else (200, {})
            if self.path == "/live":
                self.send(200, '{"status":"live"}')
            elif self.path == "/ready":
                self.send(status, compact({"status": "not ready" if problems else "ready", **problem}))
            elif self.path == "/health":
                word = "unhealthy" if problems else "healthy"
                self.send(status, compact({"status": word, **problem, **facts}))
            elif self.path == "/foo/bar":
                self.refuse(Refusal(405, "BA000", "requests are posted"))
            else:
                self.refuse(Refusal(404, "BA000", "there is nothing here"))

        def do_OPTIONS(self) -> None:
            self.send(200, "")

        def refuse(self, refusal: Refusal) -> None:
            LOG.info("refused: %s", refusal.message)
            # Two answers are older than the protocol's form of errors.
            error = {"code": refusal.code, "message": refusal.message, "context": {}}
            self.send(refusal.status, compact({"error": error if refusal.code else refusal.message}))

        def send(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            for name in ("origin", "headers", "methods"):
                self.send_header(f"access-control-allow-{name}", "*")
            self.send_header("cache-control", "no-store")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            LOG.debug(format, *arguments)

    return Handler


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    config = json.loads(Path(sys.argv[1]).read_text())
    host, _, port = config["listen"].rpartition(":")
    app = App(config)
    server = ThreadingHTTPServer((host, int(port)), handler(app))
    # Not on this thread, which serves and would wait for itself.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever()
    finally:
        server.server_close()
        app.close()


if __name__ == "__main__":
    main()
