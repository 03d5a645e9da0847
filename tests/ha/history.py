"""Whether what the databases, the daemons and the callers hold is one history."""

import collections
import json
import subprocess

from processes import BIN

# The published form, from the rows.
LOG = """SELECT '[' || string_agg('{"payload":' || event_text || ',"signature":"' || signature || '"}', ','
  ORDER BY sequence_number) || ']' FROM hsmd.event"""


def logs(play):
    """Every copy of the key log that there is, by its place."""
    found = {f"database-{member.name}": member.sql(LOG, "hsmd") for member in play.cluster.members}
    for daemon in play.pair.daemons:
        found[f"folder-{daemon.name}"] = daemon.known_log()
        code, served = daemon.hsmctl("log", "--json")
        found[f"served-{daemon.name}"] = served if code == 0 else None
    return {place: log for place, log in found.items() if log}


def one_history(play):
    """Asserts one event a number in all copies that can be had, by their texts and by `hsmctl reconcile`;
    returns the log."""
    test, found = play.test, logs(play)
    test.assertGreaterEqual(len(found), 4, found.keys())
    texts = collections.defaultdict(set)
    for log in found.values():
        for entry in json.loads(log):
            event = entry["payload"]
            texts[event["sequenceNumber"]].add(json.dumps(event))
    test.assertEqual([number for number, events in texts.items() if len(events) > 1], [])
    files = []
    for place, log in found.items():
        files.append(play.folder / f"{place}.json")
        files[-1].write_text(log)
    kept = play.folder / "kept.json"
    said = hsmctl(play, "reconcile", "--write", kept, *files)
    test.assertEqual(said["contests"], [])
    return json.loads(kept.read_text())


def holds_all(play, log):
    """Asserts that the log has every event that was answered, and verifies every signature but those of
    tainted generations, of which none may have been asked for after the taint's answer."""
    test, events = play.test, [entry["payload"] for entry in log]
    ids = {event["id"] for event in events}
    for each in play.changes():
        test.assertIn(each.event(), ids, f"an event that {each.daemon} answered is lost")
    marked = {event["previous"] for event in events if event.get("taintPrevious")}
    tainted = {each.replaced(): each.ended for each in play.taints}
    test.assertLessEqual(set(tainted), marked)
    files = []
    for number, each in enumerate(play.signatures()):
        test.assertIn(each.generation(), ids)
        if each.generation() in tainted:
            test.assertLess(each.began, tainted[each.generation()], f"signed after the taint: {each}")
        elif each.generation() not in marked:
            files.append(play.folder / f"signed-{number}.json")
            files[-1].write_text(each.answer)
    said = hsmctl(play, "verify", "--log", play.folder / "kept.json", "--signed", *files)
    test.assertEqual([each for each in said["signed"] if not each["good"]], [])


def hsmctl(play, *words):
    """A command that needs no daemon, and what it says."""
    command = [BIN / "hsmctl", "--output", "json", "--identity", play.pair.identity, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    play.test.assertEqual(done.returncode, 0, f"hsmctl {words[0]}: {done.stderr}")
    return json.loads(done.stdout)
