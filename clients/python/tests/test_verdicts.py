"""The verdicts of hsmd-chain on mutated logs (chain/examples/verdicts) in the file HSMD_VERDICTS are ours, too."""

import json
import os
import unittest
from collections import Counter
from pathlib import Path

import hsmd_client as hsmd
from hsmd_client.encoding import milliseconds


def verdict(function, *arguments, **named):
    """The value, or None if it is refused. Whatever else is raised fails the test."""
    try:
        return function(*arguments, **named)
    except hsmd.Refused:
        return None


class Verdicts(unittest.TestCase):
    def test_the_same_logs_and_endorsements_are_accepted(self):
        counts = Counter()
        with Path(os.environ["HSMD_VERDICTS"]).open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                case = json.loads(line)
                now = milliseconds(case["now"])
                log = verdict(hsmd.KeyLog.parse, case["log"], case["anchor"], now)
                self.assertEqual(log is not None, case["accept"], line)
                counts["logs"] += 1
                if log is None:
                    continue
                counts["accepted"] += 1
                signed = case["signed"]
                expected = {name: signed[name] for name in ("purpose", "key", "window")}
                endorsed = verdict(hsmd.verify_endorsement, signed["text"], log, now, **expected)
                self.assertEqual(endorsed is not None, signed["accept"], line)
                counts["endorsements"] += 1
                counts["endorsed"] += endorsed is not None
        print(dict(counts))
        self.assertGreaterEqual(counts["logs"], 300)
        self.assertGreaterEqual(counts["accepted"], 0.3 * counts["logs"], counts)
        self.assertGreaterEqual(counts["endorsed"], 0.2 * counts["endorsements"], counts)


if __name__ == "__main__":
    unittest.main()
