"""The verifier against the golden vectors, and against logs that break one rule each."""

import contextlib
import io
import json
import re
import tempfile
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import folding
import formats
import verify
from formats import P256_ORDER, Refused, digest, milliseconds

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "chain/tests/vectors.json").read_text())
REVEALED = json.loads((ROOT / "chain/tests/revealed_keys.json").read_text())
IDENTITY = VECTORS["hsmIdentity"]
LOG = VECTORS["hsmKeysReply"]
NOW = milliseconds("2025-11-04T00:00:00.001Z")
HOUR = 3_600_000
MINUTE = 60_000
BATCHES = json.loads((ROOT / "chain/tests/batches.json").read_text())
BATCH_NOW = milliseconds("2025-11-03T23:00:01.000Z")
KEYS = [bytes.fromhex(event["privateKeyHex"]) for event in VECTORS["events"]]
KEYS.append(bytes.fromhex(VECTORS["nextKey"]["privateKeyHex"]))


def private_key(data):
    return ec.derive_private_key(int.from_bytes(data, "big"), ec.SECP256R1())


def public_text(data):
    numbers = private_key(data).public_key().public_numbers()
    point = bytes([2 + numbers.y % 2]) + numbers.x.to_bytes(32, "big")
    return formats.encode(point, "1AAI", 0)


def sign(data, message, low_s=None):
    r, s = decode_dss_signature(private_key(data).sign(message.encode(), ec.ECDSA(hashes.SHA256())))
    if low_s is not None and (s <= P256_ORDER // 2) != low_s:
        s = P256_ORDER - s
    return formats.encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"), "0I", 2)


def read_log(text, identity=IDENTITY, now=NOW):
    return verify.KeyLog(text, identity, now, 5000)


def rewritten(number, key=None, fix=True, **changes):
    """The golden log with one event's fields changed, its id made anew and signed by its key."""
    entries = json.loads(LOG)
    fields = {**entries[number]["payload"], **changes}
    fields = {name: value for name, value in fields.items() if value is not None}
    if fix:
        blank = {**fields, "id": verify.PLACEHOLDER}
        if number == 0:
            blank["prefix"] = verify.PLACEHOLDER
        fields["id"] = digest(verify.event_text(blank).encode())
        if number == 0:
            fields["prefix"] = fields["id"]
    text = verify.event_text(fields)
    texts = [entry["payload"] for entry in VECTORS["events"]]
    signatures = [entry["signature"] for entry in VECTORS["events"]]
    texts[number], signatures[number] = text, sign(key or KEYS[number], text)
    return joined(texts[: number + 1], signatures)


def joined(texts, signatures):
    pairs = zip(texts, signatures)
    return "[" + ",".join(f'{{"payload":{t},"signature":"{s}"}}' for t, s in pairs) + "]"


class Formats(unittest.TestCase):
    def test_values(self):
        cesr = VECTORS["cesr"]
        self.assertEqual(digest(b""), cesr["digestOfEmpty"])
        self.assertEqual(digest(b"abc"), cesr["digestOfAbc"])
        self.assertEqual(formats.nonce(bytes(16)), cesr["nonceOfZeros"])
        self.assertEqual(formats.nonce(b"\xff" * 16), cesr["nonceOfFF"])

    def test_malformed_values(self):
        good = VECTORS["events"][0]
        key, identity, signature = good["publicKey"], good["id"], good["signature"]
        for check, text in [
            (formats.check_digest, identity[:-1]),
            (formats.check_digest, identity + "A"),
            (formats.check_digest, "F" + identity[1:]),
            (formats.check_digest, "E_" + identity[2:]),  # lead bits
            (formats.check_digest, identity[:-1] + "+"),
            (formats.check_digest, identity[:-1] + "="),
            (formats.check_digest, None),
            (formats.public_key, "1AAJ" + key[4:]),
            (formats.public_key, "1AAIBB" + key[6:]),  # prefix 04
            (formats.public_key, "1AAIAg" + "A" * 41 + "B"),  # x = 1 has no point
            (lambda text: formats.verify_signature(key, good["payload"], text), "0I" + "A" * 86),
            (lambda text: formats.verify_signature(key, good["payload"], text), signature[:-1]),
            (lambda text: formats.verify_signature(key, good["payload"], text), "0I_" + signature[3:]),
        ]:  # fmt: skip
            with self.subTest(text=text), self.assertRaises(Refused):
                check(text)

    def test_signature_range(self):
        event = VECTORS["events"][0]
        for r, s in [(0, 1), (1, 0), (P256_ORDER, 1), (1, P256_ORDER)]:
            text = formats.encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"), "0I", 2)
            with self.assertRaisesRegex(Refused, "out of range"):
                formats.verify_signature(event["publicKey"], event["payload"], text)

    def test_high_and_low_s(self):
        for low_s in (True, False):
            signature = sign(KEYS[0], "text", low_s)
            formats.verify_signature(public_text(KEYS[0]), "text", signature)

    def test_times(self):
        self.assertEqual(milliseconds("1970-01-01T00:00:00.001Z"), 1)
        self.assertEqual(milliseconds("0001-01-01T00:00:00.000Z"), -62_135_596_800_000)
        self.assertEqual(milliseconds("9999-12-31T23:59:59.999Z"), 253_402_300_799_999)
        for text in """0000-01-01T00:00:00.000Z 2025-02-29T00:00:00.000Z 2025-11-01T00:00:60.000Z
            2025-11-01T24:00:00.000Z 2025-11-01T00:00:00Z 2025-11-01T00:00:00.00Z
            2025-11-01T00:00:00.000z 2025-11-01t00:00:00.000Z 2025-11-01T00:00:00.000+00:00
            2025-11-01T00:00:00,000Z 2025-13-01T00:00:00.000Z ２025-11-01T00:00:00.000Z""".split():
            with self.subTest(text=text), self.assertRaises(Refused):
                milliseconds(text)

    def test_payloads(self):
        deep = '{"a":' + "[" * 31 + "]" * 31 + "}"
        for text in ["{}", '{"a":" \\" {[ "}', '{"a":1e400,"b":-0}', '{"a":"\\ud83d\\ude00"}', deep]:
            formats.read_payload(text)
        for text in [
            "", "[]", '"a"', "\ufeff{}", "{} ", ' {}', '{"a": 1}', '{"a":1,"a":2}',
            '{"a":{"b":1,"\\u0062":2}}', '{"a":"\\ud800"}', '{"a":[["\\udc00"]]}', '{"\\ud800":1}',
            '{"a":NaN}', '{"a":Infinity}', '{"a":01}', '{"a":"\n"}', '{"a":1}{}', "{'a':1}",
            deep.replace("[]", "[[]]"), '{"a":' + "[" * 100_000,
        ]:  # fmt: skip
            with self.subTest(text=text[:40]), self.assertRaises(Refused):
                formats.read_payload(text)


class Log(unittest.TestCase):
    def test_golden_log(self):
        log = read_log(LOG)
        self.assertEqual([event.id for event in log.events], [e["id"] for e in VECTORS["events"]])
        for vector, key, following in zip(VECTORS["events"], KEYS, KEYS[1:]):
            self.assertEqual(vector["publicKey"], public_text(key))
            self.assertEqual(vector["rotationHash"], digest(public_text(following).encode()))
            self.assertEqual(digest(vector["hashInput"].encode()), vector["id"])

    def test_every_changed_byte_is_refused(self):
        for position, character in enumerate(LOG):
            for other in {"A", "0", " ", chr(ord(character) ^ 1)} - {character}:
                text = LOG[:position] + other + LOG[position + 1 :]
                with self.subTest(position=position, other=other), self.assertRaises(Refused):
                    read_log(text)

    def test_any_prefix_of_the_log_is_a_log(self):
        texts = [event["payload"] for event in VECTORS["events"]]
        signatures = [event["signature"] for event in VECTORS["events"]]
        for length in (1, 2, 3):
            self.assertEqual(len(read_log(joined(texts[:length], signatures)).events), length)

    def test_rules_one_by_one(self):
        other = digest(b"other")
        for rule, text in [
            ("order", rewritten(1, sequenceNumber=2)),
            ("digest", rewritten(1, fix=False, id=other)),
            ("prefix changes", rewritten(1, prefix=other)),
            ("previous is not", rewritten(2, previous=other)),
            ("time does not grow", rewritten(1, createdAt="2025-11-01T00:00:00.000Z")),
            ("future", rewritten(3, createdAt="2025-11-04T00:00:05.002Z")),
            ("time:", rewritten(3, createdAt="2025-11-31T00:00:00.000Z")),
            ("purpose", rewritten(1, purpose="access")),
            ("fields", rewritten(1, previous=None)),
            ("fields", rewritten(0, previous=other)),
            ("taint", rewritten(0, taintPrevious=True)),
            ("canonical", rewritten(3).replace('"taintPrevious":true,', '"taintPrevious":true ,')),
            ("taint", rewritten(3).replace('"taintPrevious":true,', '"taintPrevious":false,')),
            ("fields", rewritten(3).replace('"taintPrevious":true,', '"more":true,')),
            ("duplicate", rewritten(3).replace('"taintPrevious":true,', '"taintPrevious":true,' * 2)),
            ("canonical", rewritten(1).replace('"purpose":"key-', '"purpose":"\\u006bey-')),
            ("number", rewritten(1).replace('"sequenceNumber":1,', '"sequenceNumber":1.0,')),
            ("number", rewritten(1).replace('"sequenceNumber":1,', '"sequenceNumber":1e0,')),
            ("committed", rewritten(1, key=KEYS[0], publicKey=public_text(KEYS[0]))),
            ("not made by this key", rewritten(1, key=KEYS[0])),
            ("another identity", rewritten(0, createdAt="2025-11-01T00:00:00.001Z")),
            ("empty", "[]"),
            ("expected", ""),
            ("follows", LOG + "]"),
            ("members", LOG.replace('"signature":', '"more":1,"signature":', 1)),
        ]:  # fmt: skip
            with self.subTest(rule=rule), self.assertRaisesRegex(Refused, rule):
                read_log(text)
        read_log(rewritten(3, createdAt="2025-11-04T00:00:05.001Z"))

    def test_a_key_is_revealed_once(self):
        for case in REVEALED["cases"]:
            with self.subTest(case["name"]):
                if case["accept"]:
                    read_log(case["log"], case["identity"])
                    continue
                rule = case["fault"]
                if "revealedBy" in case:
                    rule += f", by event {case['revealedBy']}"
                with self.assertRaisesRegex(Refused, f"{rule}$"):
                    read_log(case["log"], case["identity"])

    def test_identity_with_a_known_head(self):
        head = VECTORS["events"][2]["id"]
        read_log(LOG, f"{IDENTITY}@2:{head}")
        for identity in (f"{IDENTITY}@1:{head}", f"{IDENTITY}@2:{digest(b'')}", f"{IDENTITY}@2:"):
            with self.assertRaises(Refused):
                read_log(LOG, identity)


class Bodies(unittest.TestCase):
    def signed(self, generation, payload):
        event = VECTORS["events"][generation]
        hsm = f'{{"identity":"{IDENTITY}","generationId":"{event["id"]}"}}'
        return self.published(generation, f'{{"payload":{payload},"hsm":{hsm}}}')

    @staticmethod
    def published(generation, body):
        return f'{{"body":{body},"signature":"{sign(KEYS[generation], body)}"}}'

    def test_golden_endorsements(self):
        log = read_log(LOG)
        for vector in VECTORS["endorsements"]:
            with self.subTest(vector["name"]):
                purpose = vector["name"].split(",")[0]
                arguments = log, NOW, 12 * HOUR, purpose, vector["servicePublicKey"]
                for text in (vector["redisValue"], vector["httpResponse"]):
                    if "reject (no live" in vector["name"] or "expired" in vector["name"]:
                        with self.assertRaisesRegex(Refused, "tainted|expired"):
                            verify.verify_signed(text, *arguments)
                    else:
                        _, event = verify.verify_signed(text, *arguments)
                        self.assertEqual(event.sequence_number, vector["signedBySequence"])

    def test_wrong_purpose_and_wrong_key(self):
        log, text = read_log(LOG), VECTORS["endorsements"][0]["redisValue"]
        with self.assertRaisesRegex(Refused, "purpose"):
            verify.verify_signed(text, log, NOW, HOUR, "response")
        with self.assertRaisesRegex(Refused, "another key"):
            verify.verify_signed(text, log, NOW, HOUR, "access", VECTORS["nextKey"]["publicKey"])

    def test_window(self):
        log = read_log(LOG)
        replaced = milliseconds(VECTORS["events"][2]["createdAt"])
        text = self.signed(1, '{"purpose":"document"}')
        verify.verify_signed(text, log, replaced + HOUR, HOUR)
        with self.assertRaisesRegex(Refused, "window"):
            verify.verify_signed(text, log, replaced + HOUR + 1, HOUR)
        with self.assertRaisesRegex(Refused, "tainted"):
            verify.verify_signed(self.signed(2, '{"purpose":"document"}'), log, NOW, 99 * HOUR)

    def test_body_rules_one_by_one(self):
        log = read_log(LOG)
        good = self.signed(3, '{"purpose":"document"}')
        body = good[len('{"body":') : good.index(',"signature"')]
        verify.verify_signed(good, log, NOW, HOUR)
        for rule, text in [
            ("another identity", self.published(3, body.replace(IDENTITY, digest(b"")))),
            ("not in the log", self.published(3, re.sub('Id":"[^"]*', f'Id":"{digest(b"")}', body))),
            ("not made by this key", self.published(2, body)),
            ("canonical", self.published(3, body.replace(',"hsm"', ', "hsm"'))),
            ("canonical", self.published(3, body.replace('"identity"', '"\\u0069dentity"'))),
            ("members", self.published(3, body[:-1] + ',"more":1}')),
            ("members", self.published(3, body[:-2] + ',"more":1}}')),
            ("blank", self.signed(3, '{"purpose": "document"}')),
            ("duplicate", self.signed(3, '{"purpose":"document","purpose":"document"}')),
            ("endorsement", self.signed(3, '{"purpose":"document","publicKey":"1AAI"}')),
            ("endorsement", self.signed(3, '{"purpose":"document","expiration":"2099"}')),
            ("members", good[:-1] + ',"more":1}'),
            ("follows", good + "x"),
        ]:  # fmt: skip
            with self.subTest(rule=rule, text=text), self.assertRaisesRegex(Refused, rule):
                verify.verify_signed(text, log, NOW, HOUR)

    def test_own_endorsement_to_the_millisecond(self):
        log = read_log(LOG)
        key = VECTORS["nextKey"]["publicKey"]
        at = datetime.fromtimestamp(NOW // 1000, timezone.utc) + timedelta(milliseconds=NOW % 1000)
        text = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{NOW % 1000:03}Z"
        payload = f'{{"purpose":"access","publicKey":"{key}","expiration":"{text}"}}'
        verify.verify_signed(self.signed(3, payload), log, NOW - 1, HOUR)
        with self.assertRaisesRegex(Refused, "expired"):
            verify.verify_signed(self.signed(3, payload), log, NOW, HOUR)


class Batches(unittest.TestCase):
    def test_golden_batches(self):
        log, items = read_log(LOG), 0
        for batch in BATCHES["batches"]:
            for index, text in enumerate(batch["items"]):
                with self.subTest(size=batch["size"], index=index):
                    payload, event = verify.verify_signed(text, log, BATCH_NOW, HOUR)
                    self.assertEqual(event.sequence_number, batch["signedBySequence"])
                    documents = batch.get("documents", False)
                    self.assertEqual(payload["purpose"] == "document", documents)
                    items += 1
        self.assertEqual(items, 32)

    def test_golden_refusals(self):
        log = read_log(LOG)
        expected = {
            "another payload": "path leads to another root",
            "index of another leaf": "path is too short",
            "index outside the tree": "index outside",
            "path one short": "path is too short",
            "path one long": "path is too long",
            "path reversed (three elements)": "path leads to another root",
            "size changed, signature no longer fits": "not made by this key",
            "an inner node passed off as a leaf": "path leads to another root",
            "signed by a tainted generation (2)": "tainted",
            "the signed body is no batch": "is no batch",
            "members in another order": "batched: members",
            "a member more": "batched: members",
            "size 0": "size out of range",
            "size 16385": "size out of range",
            "size written as 1.0": "size is no integer",
            "a leaf with a reserved purpose": "reserved",
        }
        self.assertEqual([case["name"] for case in BATCHES["refused"]], list(expected))
        for case in BATCHES["refused"]:
            with self.subTest(case["name"]):
                with self.assertRaisesRegex(Refused, expected[case["name"]]):
                    verify.verify_signed(case["text"], log, BATCH_NOW, HOUR)

    def test_every_changed_byte_is_refused(self):
        log, text = read_log(LOG), BATCHES["batches"][3]["items"][4]
        for position, character in enumerate(text):
            for other in {"A", "0", " ", chr(ord(character) ^ 1)} - {character}:
                changed = text[:position] + other + text[position + 1 :]
                with self.subTest(position=position, other=other), self.assertRaises(Refused):
                    verify.verify_signed(changed, log, BATCH_NOW, HOUR)

    def test_a_leaf_is_judged_as_a_body_of_its_own(self):
        log, text = read_log(LOG), BATCHES["batches"][0]["items"][0]
        key = json.loads(text)["payload"]["publicKey"]
        expiration = milliseconds(json.loads(text)["payload"]["expiration"])
        arguments = text, log, BATCH_NOW, HOUR
        verify.verify_signed(*arguments, "access", key)
        for rule, arguments in [
            ("purpose", (*arguments, "response", key)),
            ("another key", (*arguments, "access", VECTORS["nextKey"]["publicKey"])),
            ("expired", (text, log, expiration, HOUR, "access", key)),
        ]:
            with self.subTest(rule), self.assertRaisesRegex(Refused, rule):
                verify.verify_signed(*arguments)


class Heads(unittest.TestCase):
    def test_golden_heads(self):
        log = read_log(LOG)
        for case in BATCHES["heads"]:
            with self.subTest(case["name"]):
                if case["accept"]:
                    issued_at = verify.verify_head(case["text"], log, BATCH_NOW, MINUTE, 5000)
                    self.assertEqual(issued_at, BATCH_NOW - 1000)
                    continue
                rule = "another event" if "another number" in case["name"] else "not the log's head"
                with self.assertRaisesRegex(Refused, rule):
                    verify.verify_head(case["text"], log, BATCH_NOW, MINUTE, 5000)

    def test_freshness_to_the_millisecond(self):
        log, text = read_log(LOG), BATCHES["heads"][0]["text"]
        issued = BATCH_NOW - 1000
        for now in (issued - 5000, issued, issued + MINUTE):
            verify.verify_head(text, log, now, MINUTE, 5000)
        for rule, now in [("future", issued - 5001), ("stale", issued + MINUTE + 1)]:
            with self.subTest(rule), self.assertRaisesRegex(Refused, rule):
                verify.verify_head(text, log, now, MINUTE, 5000)

    def test_every_changed_byte_is_refused(self):
        log, text = read_log(LOG), BATCHES["heads"][0]["text"]
        for position, character in enumerate(text):
            changed = text[:position] + chr(ord(character) ^ 1) + text[position + 1 :]
            with self.subTest(position=position), self.assertRaises(Refused):
                verify.verify_head(changed, log, BATCH_NOW, MINUTE, 5000)


class Folding(unittest.TestCase):
    """Why Sign refuses some names: what a reader that folds case makes of them."""

    def test_a_folding_reader_is_mistaken_unless_it_rebuilds_the_text(self):
        key, expiration = VECTORS["nextKey"]["publicKey"], "2099-01-01T00:00:00.000Z"
        endorsed = {"purpose": "access", "publicKey": key, "expiration": expiration}
        documents = folding.mistaken(key, expiration)
        self.assertEqual(len(documents), 6)
        for document in documents:
            with self.subTest(document):
                formats.read_payload(document)  # It keeps the rules of payloads …
                self.assertEqual(folding.read_endorsement(document, rebuild=False), endorsed)
                self.assertIsNone(folding.read_endorsement(document, rebuild=True))
        genuine = verify.endorsement_text(endorsed)
        for rebuild in (False, True):
            self.assertEqual(folding.read_endorsement(genuine, rebuild), endorsed)

    def test_this_verifier_takes_none_for_an_endorsement(self):
        log, bodies = read_log(LOG), Bodies()
        key, expiration = VECTORS["nextKey"]["publicKey"], "2099-01-01T00:00:00.000Z"
        for document in folding.mistaken(key, expiration):
            with self.subTest(document), self.assertRaisesRegex(Refused, "purpose|endorsement"):
                verify.verify_signed(bodies.signed(3, document), log, NOW, HOUR, "access", key)
        genuine = f'{{"purpose":"access","publicKey":"{key}","expiration":"{expiration}"}}'
        verify.verify_signed(bodies.signed(3, genuine), log, NOW, HOUR, "access", key)
        escaped = genuine.replace("access", "acces\\u0073")
        with self.assertRaisesRegex(Refused, "canonical"):
            verify.verify_signed(bodies.signed(3, escaped), log, NOW, HOUR, "access", key)


class CommandLine(unittest.TestCase):
    def run_with(self, *arguments, log=LOG):
        with tempfile.TemporaryDirectory() as folder:
            path, signed = Path(folder) / "log.json", Path(folder) / "signed.json"
            path.write_text(log)
            signed.write_text(VECTORS["endorsements"][0]["httpResponse"])
            batched, head = Path(folder) / "batched.json", Path(folder) / "head.json"
            batched.write_text(BATCHES["batches"][3]["items"][2])
            head.write_text(BATCHES["heads"][0]["text"])
            files = {"SIGNED": str(signed), "BATCHED": str(batched), "HEAD": str(head)}
            arguments = [files.get(a, a) for a in arguments]
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                try:
                    return verify.main(["--log", str(path), "--identity", IDENTITY, *arguments])
                except SystemExit as stop:
                    return stop.code

    def test_exit_codes(self):
        for code, arguments in [
            (0, []),
            (0, ["--signed", "SIGNED", "--purpose", "access", "--window", "12h15m"]),
            (0, ["--at", "2025-11-04T00:00:00.000Z", "--signed", "SIGNED", "SIGNED"]),
            (0, ["--at", "2025-11-03T23:00:00.000Z", "--head", "HEAD", "--signed", "BATCHED"]),
            (1, ["--signed", "/nonexistent"]),
            (1, ["--head", "/nonexistent"]),
            (2, ["--at", "2025-11-03T23:01:00.001Z", "--head", "HEAD"]),
            (0, ["--at", "2025-11-03T23:02:00.000Z", "--head", "HEAD", "--max-staleness", "2m"]),
            (2, ["--signed", "SIGNED", "--purpose", "response"]),
            (2, ["--at", "2025-11-03T00:00:00.000Z"]),
            (2, ["--identity", digest(b"")]),
            (64, ["--window", "12"]),
            (64, ["--unknown"]),
        ]:
            with self.subTest(arguments=arguments):
                self.assertEqual(self.run_with(*arguments), code)
        self.assertEqual(self.run_with(log=LOG[:-1]), 2)


if __name__ == "__main__":
    unittest.main()
