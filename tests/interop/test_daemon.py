"""A running daemon (HSMD_ENDPOINT, HSMD_IDENTITY) as seen by foreign code: what it signs must
satisfy the independent verifier, and what it refuses must say why."""

import os
import time
import unittest

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import folding
import formats
import verify
from grpc_client import Client

HOUR = 3_600_000
IDENTITY = os.environ["HSMD_IDENTITY"]


def new_public_key():
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    data = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return formats.encode(data, "1AAI", 0)


class Daemon(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = Client(os.environ["HSMD_ENDPOINT"])

    @classmethod
    def tearDownClass(cls):
        cls.client.__exit__()

    def verified(self, text, **expected):
        now = time.time_ns() // 1_000_000
        log = verify.KeyLog(self.client.log(), IDENTITY, now, 5000)
        return verify.verify_signed(text, log, now, HOUR, **expected), now

    def test_endorses_a_key(self):
        key = new_public_key()
        text = self.client.endorse("access", key, 3600)
        (payload, _), now = self.verified(text, purpose="access", key=key)
        expires_in = formats.milliseconds(payload["expiration"]) - now
        self.assertLess(abs(expires_in - HOUR), 60_000)

    def test_signs_a_document_byte_for_byte(self):
        payload = '{"purpose":"document","z":1.50,"a":["\\u00e4","ä",{"b":null}]}'
        text = self.client.sign(payload)
        self.assertIn(f'{{"body":{{"payload":{payload},"hsm":', text)
        self.verified(text, purpose="document")

    def test_refusals_have_their_status(self):
        key = new_public_key()
        for status, call in [
            (grpc.StatusCode.INVALID_ARGUMENT, lambda: self.client.endorse("access", key[:-1], 60)),
            (grpc.StatusCode.INVALID_ARGUMENT, lambda: self.client.sign('{"purpose": "document"}')),
            (grpc.StatusCode.INVALID_ARGUMENT, lambda: self.client.sign('{"purpose":"health"}')),
            (grpc.StatusCode.PERMISSION_DENIED, lambda: self.client.endorse("unknown", key, 60)),
            (grpc.StatusCode.PERMISSION_DENIED, lambda: self.client.endorse("access", key, 10**8)),
        ]:
            with self.subTest(status=status), self.assertRaises(grpc.RpcError) as refusal:
                call()
            self.assertEqual(refusal.exception.code(), status)

    def test_sign_refuses_what_a_folding_reader_takes_for_an_endorsement(self):
        for document in folding.mistaken(new_public_key(), "2099-01-01T00:00:00.000Z"):
            with self.subTest(document), self.assertRaises(grpc.RpcError) as refusal:
                self.client.sign(document)
            self.assertEqual(refusal.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)


if __name__ == "__main__":
    unittest.main()
