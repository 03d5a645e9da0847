"""JSON Web Tokens by an endorsed key verify in PyJWT, as every other ES256 token."""

import base64
import unittest

import jwt

import hsmd_client as hsmd
from mirror import GOLDEN, IDENTITY, Mirror, taint

AUDIENCE = "https://api.example"


def jwk(text):
    """The JWK of a public key's text, as a JWKS has it."""
    numbers = hsmd.public_key(text).public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    return jwt.PyJWK({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": text, "alg": "ES256", "use": "sig"})


class Tokens(unittest.TestCase):
    def setUp(self):
        self.mirror = Mirror(GOLDEN)
        self.addCleanup(self.mirror.close)
        source = hsmd.HttpSource(self.mirror.url, interval=0.02)
        self.log = hsmd.FollowedLog(source, IDENTITY).start()
        self.addCleanup(self.log.close)
        self.endorser = hsmd.Endorser(source, self.log, purpose="jwt", ttl=3600).start()
        self.addCleanup(self.endorser.close)
        self.endorsement = self.endorser.wait(30)

    def decode(self, token, key=None):
        require = {"require": ["exp", "iat", "aud", "sub"]}
        key = key or jwk(jwt.get_unverified_header(token)["kid"])
        return jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, options=require)

    def test_the_endorsed_key_signs_what_was_claimed(self):
        claims = {"sub": "ünï\u2028 \"quoted\"", "aud": AUDIENCE, "scope": ["read", "write"]}
        token = self.endorser.sign_token(claims, lifetime=60)
        self.assertEqual(jwt.get_unverified_header(token), {"alg": "ES256", "typ": "JWT", "kid": self.endorser.public_key})
        decoded = self.decode(token)
        self.assertEqual({name: decoded[name] for name in claims}, claims)
        self.assertEqual(decoded["exp"] - decoded["iat"], 60)
        # What a JWKS of endorsed keys is made from.
        self.log.verify_endorsement(self.endorsement.text, purpose="jwt", key=self.endorser.public_key)

    def test_no_token_outlives_the_endorsement(self):
        claims = {"sub": "a", "aud": AUDIENCE, "exp": 4_000_000_000, "iat": 1}
        decoded = self.decode(self.endorser.sign_token(claims, lifetime=24 * 3600))
        self.assertEqual(decoded["exp"], self.endorsement.expiration // 1000)
        self.assertGreater(decoded["iat"], 1)

    def test_another_key_and_other_claims_are_refused(self):
        token = self.endorser.sign_token({"sub": "a", "aud": AUDIENCE})
        another = hsmd.Endorser(hsmd.HttpSource(self.mirror.url), self.log, purpose="jwt", ttl=60)
        with self.assertRaises(jwt.InvalidSignatureError):
            self.decode(token, jwk(another.public_key))
        header, _, signature = token.split(".")
        forged = self.endorser.sign_token({"sub": "b", "aud": AUDIENCE}).split(".")[1]
        with self.assertRaises(jwt.InvalidSignatureError):
            self.decode(f"{header}.{forged}.{signature}")

    def test_a_tainted_endorsement_signs_none(self):
        self.mirror.endorses = False
        self.mirror.events.append(taint())
        self.assertTrue(self.log.wait(lambda log: log.head.sequence_number == 4, 30))
        with self.assertRaisesRegex(hsmd.Unavailable, "tainted"):
            self.endorser.sign_token({"sub": "a"})


if __name__ == "__main__":
    unittest.main()
