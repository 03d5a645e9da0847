"""The verifier against the golden vectors, which every implementation of the formats shares."""

import json
import pathlib
import unittest

from cryptography.hazmat.primitives.asymmetric import ec

import hsmd_client as hsmd
from hsmd_client.encoding import milliseconds, public_key_text
from hsmd_client.signed import root_of

CASES = pathlib.Path(__file__).resolve().parents[3] / "chain/tests"
VECTORS = json.loads((CASES / "vectors.json").read_text())
BATCHES = json.loads((CASES / "batches.json").read_text())
REVEALED = json.loads((CASES / "revealed_keys.json").read_text())
IDENTITY, LOG = VECTORS["hsmIdentity"], VECTORS["hsmKeysReply"]
NOW = milliseconds("2025-11-04T00:00:00.001Z")
BATCH_NOW = milliseconds("2025-11-03T23:00:01.000Z")


def log(now=NOW, anchor=IDENTITY):
    return hsmd.KeyLog.parse(LOG, anchor, now)


class Log(unittest.TestCase):
    def test_the_golden_log(self):
        events = log().events
        self.assertEqual([event.id for event in events], [event["id"] for event in VECTORS["events"]])
        self.assertTrue(events[3].taint_previous)

    def test_every_changed_byte_is_refused(self):
        for position in range(0, len(LOG), 7):
            other = "x" if LOG[position] != "x" else "y"
            with self.subTest(position), self.assertRaises(hsmd.Refused):
                hsmd.KeyLog.parse(LOG[:position] + other + LOG[position + 1 :], IDENTITY, NOW)

    def test_keys_that_come_a_second_time(self):
        for case in REVEALED["cases"]:
            with self.subTest(case["name"]):
                if case["accept"]:
                    hsmd.KeyLog.parse(case["log"], case["identity"], NOW * 2)
                else:
                    with self.assertRaises(hsmd.Refused):
                        hsmd.KeyLog.parse(case["log"], case["identity"], NOW * 2)

    def test_other_identities_futures_and_nothing(self):
        with self.assertRaisesRegex(hsmd.Refused, "another identity"):
            log(anchor=VECTORS["events"][1]["id"])
        with self.assertRaisesRegex(hsmd.Refused, "future"):
            log(now=milliseconds("2025-11-03T12:00:00.000Z"))
        with self.assertRaisesRegex(hsmd.Refused, "empty"):
            hsmd.KeyLog.parse("[]", IDENTITY, NOW)

    def test_an_event_twice_in_one_array_is_malformed(self):
        event = VECTORS["events"][0]
        entry = f'{{"payload":{event["payload"]},"signature":"{event["signature"]}"}}'
        hsmd.KeyLog.parse(f"[{entry}]", IDENTITY, NOW)
        with self.assertRaisesRegex(hsmd.Refused, "order of sequence numbers"):
            hsmd.KeyLog.parse(f"[{entry},{entry}]", IDENTITY, NOW)

    def test_a_known_head_is_never_given_up(self):
        events = VECTORS["events"]
        log(anchor=f"{IDENTITY}@3:{events[3]['id']}")
        texts = [f'{{"payload":{e["payload"]},"signature":"{e["signature"]}"}}' for e in events]
        shorter = "[" + ",".join(texts[:3]) + "]"
        with self.assertRaises(hsmd.Rollback):
            hsmd.KeyLog.parse(shorter, f"{IDENTITY}@3:{events[3]['id']}", NOW)
        with self.assertRaises(hsmd.Fork):
            log(anchor=f"{IDENTITY}@2:{events[3]['id']}")

    def test_an_event_from_the_future_taints_at_once_and_is_not_taken(self):
        before = milliseconds("2025-11-03T13:00:00.000Z")
        events = hsmd.read_events(LOG)
        followed = hsmd.KeyLog(IDENTITY)
        for event in events[:3]:
            self.assertTrue(followed.extend(event, before))
        self.assertFalse(followed.extend(events[1], before))
        followed.live(events[2].id, before, hsmd.HOUR)
        with self.assertRaisesRegex(hsmd.Refused, "future"):
            followed.extend(events[3], before)
        self.assertEqual(followed.head.id, events[2].id)
        with self.assertRaisesRegex(hsmd.Refused, "tainted"):
            followed.live(events[2].id, before, hsmd.HOUR)

    def test_windows(self):
        events = log().events
        edge = events[1].created_at + hsmd.HOUR
        self.assertEqual(log().live(events[0].id, edge, hsmd.HOUR).id, events[0].id)
        with self.assertRaisesRegex(hsmd.Refused, "window"):
            log().live(events[0].id, edge + 1, hsmd.HOUR)


class Signed(unittest.TestCase):
    def test_golden_endorsements(self):
        accepted = 0
        for case in VECTORS["endorsements"]:
            purpose = json.loads(case["redisValue"])["body"]["payload"]["purpose"]
            arguments = {"purpose": purpose, "key": case["servicePublicKey"], "window": 24 * hsmd.HOUR}
            with self.subTest(case["name"]):
                if "reject (" in case["name"] or "reject after" in case["name"]:
                    with self.assertRaises(hsmd.Refused):
                        hsmd.verify_endorsement(case["redisValue"], log(), NOW, **arguments)
                    continue
                accepted += 1
                verified = hsmd.verify_endorsement(case["redisValue"], log(), NOW, **arguments)
                self.assertEqual(verified.event.sequence_number, case["signedBySequence"])
                for wrong in ({"purpose": "other"}, {"key": VECTORS["nextKey"]["publicKey"]}):
                    with self.assertRaises(hsmd.Refused):
                        hsmd.verify_endorsement(case["redisValue"], log(), NOW, **arguments | wrong)
        self.assertGreaterEqual(accepted, 2)

    def test_golden_batches(self):
        memory = hsmd.BatchMemory()
        count = 0
        for batch in BATCHES["batches"]:
            for text in batch["items"]:
                hsmd.verify_signed(text, log(BATCH_NOW), BATCH_NOW, memory=memory)
                count += 1
        self.assertGreater(count, 20)

    def test_refused_batches(self):
        memory = hsmd.BatchMemory()
        for case in BATCHES["refused"]:
            with self.subTest(case["name"]), self.assertRaises(hsmd.Refused):
                hsmd.verify_signed(case["text"], log(BATCH_NOW), BATCH_NOW, memory=memory)

    def test_golden_heads(self):
        for case in BATCHES["heads"]:
            with self.subTest(case["name"]):
                if case["accept"]:
                    hsmd.verify_head(case["text"], log(BATCH_NOW), BATCH_NOW)
                    for late in (61_000, -70_000):
                        with self.assertRaises(hsmd.Refused):
                            hsmd.verify_head(case["text"], log(BATCH_NOW), BATCH_NOW + late)
                else:
                    with self.assertRaises(hsmd.Refused):
                        hsmd.verify_head(case["text"], log(BATCH_NOW), BATCH_NOW)

    def test_a_path_of_the_wrong_length_or_index_leads_nowhere(self):
        batch = max(BATCHES["batches"], key=lambda batch: batch["size"])
        parts = json.loads(batch["items"][1])
        payload = json.dumps(parts["payload"], separators=(",", ":"), ensure_ascii=False)
        index, path = parts["proof"]["index"], parts["proof"]["path"]
        self.assertEqual(root_of(payload, index, batch["size"], path), batch["root"])
        for arguments in [(index, path[:-1]), (index, [*path, path[0]]), (batch["size"], path), (index ^ 1, path)]:
            try:
                self.assertNotEqual(root_of(payload, arguments[0], batch["size"], arguments[1]), batch["root"])
            except hsmd.Refused:
                pass

    def test_own_signatures_verify(self):
        key = ec.generate_private_key(ec.SECP256R1())
        text = public_key_text(key.public_key())
        signature = hsmd.sign(key, "a message")
        hsmd.verify(text, "a message", signature)
        for wrong in ("another", "a message "):
            with self.assertRaises(hsmd.Refused):
                hsmd.verify(text, wrong, signature)


if __name__ == "__main__":
    unittest.main()
