"""What callers and administrators do during a play, with `hsmctl`, and what they were answered."""

import dataclasses
import json
import threading
import time


@dataclasses.dataclass(frozen=True)
class Call:
    """One call that has ended. `answer` is None where it was refused, or nothing came."""

    daemon: str
    began: float
    ended: float
    answer: str | None

    def generation(self):
        """Of a signature: the generation that it names."""
        return json.loads(self.answer)["body"]["hsm"]["generationId"]

    def event(self):
        """Of a rotation or a taint: the event's id."""
        return json.loads(self.answer)["event"]["id"]

    def replaced(self):
        return json.loads(self.answer)["replacedGenerationId"]


def call(daemon, *words, document=None):
    began = time.monotonic()
    code, output = daemon.hsmctl(*words, document=document)
    return Call(daemon.name, began, time.monotonic(), output.strip() if code == 0 else None)


class Calls(threading.Thread):
    """Calls one daemon again and again until it is told to stop; keeps every call."""

    def __init__(self, daemon, every):
        super().__init__()
        self.daemon, self.every = daemon, every
        self.calls, self.told = [], threading.Event()

    def run(self):
        while not self.told.wait(self.every):
            if done := self.one():
                self.calls.append(done)

    def stop(self):
        self.told.set()
        self.join()

    def good(self):
        return [each for each in list(self.calls) if each.answer]

    def since(self, moment):
        return [each for each in list(self.calls) if each.began > moment]


class Signing(Calls):
    def __init__(self, daemon):
        super().__init__(daemon, every=0.1)

    def one(self):
        document = f'{{"purpose":"document","by":"{self.daemon.name}","number":{len(self.calls)}}}'
        return call(self.daemon, "--timeout", "3s", "sign", "-", document=document)


class Rotating(Calls):
    """Not while `paused` is set."""

    def __init__(self, daemon, paused):
        super().__init__(daemon, every=1)
        self.paused, self.rests = paused, False

    def one(self):
        self.rests = self.paused.is_set()
        return None if self.rests else change(self.daemon, "rotate")


def change(daemon, command):
    """A rotation or a taint."""
    words = ["--output", "json", command, "--reason", "a play"]
    if command == "taint":
        words += ["--event-file", daemon.folder / "taint.json"]
    return call(daemon, *words)
