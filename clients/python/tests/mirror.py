"""A keys service and gateway in this process, over the golden log and its keys, which says what a test wants."""

import itertools
import json
import socket
import socketserver
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

import hsmd_client as hsmd
from hsmd_client.connection import now

CASES = Path(__file__).resolve().parents[3] / "chain/tests"
VECTORS = json.loads((CASES / "vectors.json").read_text())
IDENTITY = VECTORS["hsmIdentity"]


def private_key(of):
    return ec.derive_private_key(int(of["privateKeyHex"], 16), ec.SECP256R1())


GOLDEN = hsmd.read_events(VECTORS["hsmKeysReply"])
KEYS = [private_key(of) for of in [*VECTORS["events"], VECTORS["nextKey"]]]


def instant(milliseconds):
    of = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return of.strftime("%Y-%m-%dT%H:%M:%S.") + f"{of.microsecond // 1000:03}Z"


def taint():
    """Event 4, of the key that event 3 committed to: it taints generation 3."""
    key = hsmd.public_key_text(KEYS[4].public_key())
    following = hsmd.public_key_text(ec.generate_private_key(ec.SECP256R1()).public_key())
    text = (
        f'{{"id":"{"#" * 44}","prefix":"{IDENTITY}","sequenceNumber":4,"previous":"{GOLDEN[3].id}",'
        f'"createdAt":"{instant(now())}","taintPrevious":true,"purpose":"key-authorization",'
        f'"publicKey":"{key}","rotationHash":"{hsmd.digest(following.encode())}"}}'
    )
    text = text.replace("#" * 44, hsmd.digest(text.encode()))
    return hsmd.Event.parse(text, hsmd.sign(KEYS[4], text))


def signed(payload, number, generation_id):
    """What generation `number` signs."""
    hsm = f'{{"identity":"{IDENTITY}","generationId":"{generation_id}"}}'
    body = f'{{"payload":{payload},"hsm":{hsm}}}'
    return f'{{"body":{body},"signature":"{hsmd.sign(KEYS[number], body)}"}}'


def statement(event, at=None):
    """A head statement by an event's key, of the instant `at`."""
    fields = f'"purpose":"head","sequenceNumber":{event.sequence_number}'
    payload = f'{{{fields},"issuedAt":"{instant(at or now())}"}}'
    return signed(payload, event.sequence_number, event.id)


class UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        # HTTPServer's own wants a host and a port.
        socketserver.TCPServer.server_bind(self)


class Talker:
    """Answers a request with `head` and then `piece` again and again, until the reader leaves or at `end`."""

    def __init__(self, head, piece, end=None):
        self.asked = threading.Event()
        self._closing = threading.Event()
        talker = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.recv(4096)
                self.request.sendall(head)
                talker.asked.set()
                for _ in itertools.count() if end is None else range(end):
                    try:
                        self.request.sendall(piece)
                    except OSError:
                        return
                    # What has an end comes at once.
                    if end is None and talker._closing.wait(0.02):
                        return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


class Mirror:
    """`events` is the log; `head` is asked for each head statement, or raises `LookupError`."""

    def __init__(self, events, path=None):
        self.events = list(events)
        self.head = lambda: statement(self.events[-1])
        self.folder = ""
        self.endorses = True
        self._asked = threading.Condition()
        self.count = 0
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror._get(self)

            def do_POST(self):
                mirror._post(self)

            def log_message(self, *_):
                pass

        if path:
            self._server, self.url = UnixServer(path, Handler), f"unix://{path}"
        else:
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked(self):
        """Waits until a reader has asked once more for the statement."""
        with self._asked:
            before = self.count
            return self._asked.wait_for(lambda: self.count > before, 60)

    def _get(self, request):
        if request.path == f"{self.folder}/hsm/keys":
            entries = (f'{{"payload":{e.text},"signature":"{e.signature}"}}' for e in list(self.events))
            self._answer(request, 200, f"[{','.join(entries)}]")
        elif request.path == f"{self.folder}/hsm/head":
            try:
                self._answer(request, 200, self.head())
            except LookupError:
                self._answer(request, 503, "")
            with self._asked:
                self.count += 1
                self._asked.notify_all()
        else:
            self._answer(request, 404, "")

    def _post(self, request):
        asked = json.loads(request.rfile.read(int(request.headers["content-length"])))
        if request.path == "/sign" and self.endorses:
            payload = json.dumps(asked["payload"], separators=(",", ":"))
            head = self.events[-1]
            self._answer(request, 200, signed(payload, head.sequence_number, head.id))
        else:
            self._answer(request, 503, "")

    @staticmethod
    def _answer(request, status, text):
        etag = f'"{hsmd.digest(text.encode())}"'
        if status == 200 and request.headers.get("if-none-match") == etag:
            status, text = 304, ""
        request.send_response(status)
        request.send_header("etag", etag)
        request.send_header("content-length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())
