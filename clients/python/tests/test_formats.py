"""The verifier against the golden vectors, which every implementation of the formats shares."""

import json
import pathlib
import threading
import tracemalloc
import unittest
from collections import OrderedDict

from cryptography.hazmat.primitives.asymmetric import ec

import hsmd_client as hsmd
from hsmd_client.encoding import milliseconds, public_key_text
from hsmd_client.signed import root_of
from hsmd_client.text import MAX_ENTRY, entries, members
from mirror import GOLDEN, KEYS, signed

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


class HostileLog(unittest.TestCase):
    def test_it_takes_little_more_memory_than_its_text(self):
        many = 100_000
        texts = {
            "numbers": "0," * many,
            "a long array": f"[{'0,' * many}0],",
            "arrays": "[]," * many,
            "objects": '{"a":0},' * many,
            "a long object": '{"x":0' + "".join(f',"{number}":0' for number in range(many)) + "},",
            "members": '{"payload":[' + "0," * many + '0],"signature":""},',
            "depth": "[" * many,
            "a string": '"' + "\\n" * many + '",',
            "entries": ('{"payload":[' + "0," * 60 + '0],"signature":""},') * (many // 100),
        }
        for name, text in texts.items():
            with self.subTest(name):
                text = f"[{text}0]"
                tracemalloc.start()
                try:
                    with self.assertRaises(hsmd.Refused):
                        hsmd.read_events(text)
                    _, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                # A single entry takes some of it, however long the log is.
                self.assertLess(peak, 3 * len(text) + 400_000)

    def test_what_is_too_short_for_an_entry_is_the_last_that_is_read(self):
        entry = next(entries(LOG))
        self.assertEqual(list(entries(f"[{entry},{entry},0,{entry},0]")), [entry, entry, "0"])

    def test_an_entry_is_given_before_what_follows_it_is_read(self):
        entry = next(entries(LOG))
        found = entries(f"[{entry},x")
        self.assertEqual(next(found), entry)
        with self.assertRaises(hsmd.Refused):
            next(found)

    def test_an_entry_has_room_for_blanks_and_an_end(self):
        first = LOG.index(',"signature"')
        for blanks, accepted in ((MAX_ENTRY - 600, True), (MAX_ENTRY, False)):
            text = LOG[:first] + " " * blanks + LOG[first:]
            if accepted:
                hsmd.KeyLog.parse(text, IDENTITY, NOW)
            else:
                with self.assertRaisesRegex(hsmd.Refused, "entry 0 is no JSON of at most 4096 characters"):
                    hsmd.KeyLog.parse(text, IDENTITY, NOW)

    def test_the_reasons(self):
        entry = next(entries(LOG))
        reasons = {
            "": r"\[ expected",
            "{}": r"\[ expected",
            "[": "JSON: Expecting value",
            "[]x": "something follows",
            f"[{entry}": r"\] expected",
            f"[{entry},]": "JSON: Expecting value",
            f"[{entry}]]": "something follows",
            f"[{entry} {entry}]": r"\] expected",
            "[0]": "{ expected",
            "[{}]": "members of an entry",
            '[{"payload":0}]': "members of an entry",
            '[{"payload":0,"payload":0}]': "duplicate name",
            '[{"payload":{"a":0,"a":0},"signature":""}]': "duplicate name",
            '[{"payload":0,"signature":0}]': "log: signature: not a plain string",
            "[NaN]": "JSON: NaN",
            '["\\x"]': "JSON: Invalid",
            f"[{entry},{entry[:-1]},0]": "JSON: Expecting",
        }
        for text, reason in reasons.items():
            with self.subTest(text[:40]), self.assertRaisesRegex(hsmd.Refused, reason):
                hsmd.KeyLog.parse(text, IDENTITY, NOW)


class Kinds(unittest.TestCase):
    """A string is no number, a number no string, and neither is anything else."""

    VALUES = ("0", "1", '"1"', "null", "true", "[]", "{}", '["1"]')

    def test_of_an_events_members(self):
        texts = members(GOLDEN[1].text)
        self.assertEqual(sealed(texts).sequence_number, 1)
        for name in texts:
            for value in self.VALUES:
                if name != "id" and value != texts[name]:
                    with self.subTest(name=name, value=value), self.assertRaises(hsmd.Refused):
                        sealed({**texts, name: value})
        with self.assertRaisesRegex(hsmd.Refused, "event: sequenceNumber: no integer"):
            sealed({**texts, "sequenceNumber": '"1"'})

    def test_of_what_is_signed(self):
        head = GOLDEN[3]
        key = head.public_key
        payloads = {
            "publicKey": '{{"purpose":"response","publicKey":{},"expiration":"2026-11-22T11:22:33.044Z"}}',
            "expiration": f'{{{{"purpose":"response","publicKey":"{key}","expiration":{{}}}}}}',
            "purpose": f'{{{{"purpose":{{}},"publicKey":"{key}","expiration":"2026-11-22T11:22:33.044Z"}}}}',
        }
        for name, payload in payloads.items():
            for value in (value for value in self.VALUES if not value.startswith('"')):
                text = signed(payload.format(value), 3, head.id)
                with self.subTest(name=name, value=value), self.assertRaises(hsmd.Refused):
                    hsmd.verify_signed(text, log(), NOW)

    def test_of_batches_and_heads(self):
        leaf, head = '{"purpose":"document"}', GOLDEN[3]
        root = root_of(leaf, 0, 1, [])

        def batch(index="0", size="1", root=f'"{root}"'):
            body = signed(f'{{"purpose":"batch","root":{root},"size":{size}}}', 3, head.id)
            text = f'{{"payload":{leaf},"proof":{{"index":{index},"path":[]}},"batch":{body}}}'
            return hsmd.verify_signed(text, log(), NOW)

        def statement(number="3", at='"2025-11-04T00:00:00.000Z"'):
            payload = f'{{"purpose":"head","sequenceNumber":{number},"issuedAt":{at}}}'
            return hsmd.verify_head(signed(payload, 3, head.id), log(), NOW)

        batch()
        statement()
        for value in ('"0"', '"1"', '"3"', "null", "true", "[]", "{}", "[1]"):
            for read in (batch, statement):
                for name in read.__code__.co_varnames[: read.__code__.co_argcount]:
                    with self.subTest(read.__name__, name=name, value=value), self.assertRaises(hsmd.Refused):
                        read(**{name: value})


def sealed(texts):
    """Event 1 with these members' texts, named and signed anew."""
    blank = f'"{"#" * 44}"'
    text = "{" + ",".join(f'"{name}":{value}' for name, value in {**texts, "id": blank}.items()) + "}"
    text = text.replace("#" * 44, hsmd.digest(text.encode()))
    return hsmd.Event.parse(text, hsmd.sign(KEYS[1], text))


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

    def test_threads_share_a_memory(self):
        key = hsmd.public_key_text(KEYS[0].public_key())
        memory = hsmd.BatchMemory(1)

        def verify(body):
            memory.verify(key, body, signatures[body])

        signatures = {body: hsmd.sign(KEYS[0], body) for body in ("one", "other")}
        other = threading.Thread(target=verify, args=("other",))

        class Interrupted(OrderedDict):
            """Another thread comes between the question whether a body is known and its use."""

            def __contains__(self, entry):
                known = super().__contains__(entry)
                if known:
                    other.start()
                    other.join(0.5)
                return known

        verify("one")
        memory._known = Interrupted(memory._known)
        verify("one")
        other.join(30)
        self.assertEqual([body for _, body, _ in memory._known], ["other"])

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
