"""Signed bodies, endorsements, batches and head statements. docs/formats.md, sections 3 to 5."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from .encoding import digest_bytes, digest_text, milliseconds, public_key, verify
from .errors import OtherHead, require
from .keylog import HOUR, PURPOSE, Event, KeyLog, integer
from .text import Numeral, elements, members, read_object, read_payload, string

RESERVED = ("batch", "head", "health", PURPOSE)
MAX_BATCH = 16384


@dataclass(frozen=True)
class Verified:
    """A payload that the HSM has signed, and the generation that did."""

    payload: str
    values: dict[str, Any]
    event: Event


class BatchMemory:
    """Remembers that a batch body's signature verifies under its key: each further item costs hashes.

    Liveness, window and expiry are judged at each use. Bounded: the oldest goes first. Threads may share it.
    """

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def verify(self, key: str, body: str, signature: str) -> None:
        entry = (key, body, signature)
        with self._lock:
            if entry in self._known:
                self._known.move_to_end(entry)
                return
        verify(key, body, signature)
        with self._lock:
            self._known[entry] = None
            if len(self._known) > self._size:
                self._known.popitem(last=False)


def verify_signed(
    text: str,
    log: KeyLog,
    now: int,
    window: int = 12 * HOUR,
    *,
    purpose: str | None = None,
    memory: BatchMemory | None = None,
) -> Verified:
    """A signed payload in either form, plain or batched; `window` and `now` in milliseconds.

    A payload with a `publicKey` or an `expiration` is an endorsement and must be a good one.
    """
    verified = _signed(text, log, now, window, memory)
    values = verified.values
    require(purpose is None or _purpose(values) == purpose, "body: another purpose")
    if "publicKey" in values or "expiration" in values:
        _check_endorsement(verified, now)
    return verified


def verify_endorsement(
    text: str,
    log: KeyLog,
    now: int,
    *,
    purpose: str,
    key: str,
    window: int = 12 * HOUR,
    memory: BatchMemory | None = None,
) -> Verified:
    """An endorsement of the key that was looked for, for the purpose that was looked for."""
    verified = _signed(text, log, now, window, memory)
    require(_purpose(verified.values) == purpose, "body: another purpose")
    _check_endorsement(verified, now)
    require(verified.values["publicKey"] == key, "endorsement: of another key")
    return verified


def _purpose(values: dict[str, Any]) -> str | None:
    found = values.get("purpose")
    return None if isinstance(found, Numeral) else found


def _check_endorsement(verified: Verified, now: int) -> None:
    values = verified.values
    require(list(values) == ["purpose", "publicKey", "expiration"], "endorsement: members")
    require(all(isinstance(value, str) for value in values.values()), "endorsement: members")
    require(re.fullmatch("[!-~]{1,64}", values["purpose"]), "endorsement: purpose")
    rebuilt = "{" + ",".join(f'"{name}":"{value}"' for name, value in values.items()) + "}"
    require(rebuilt == verified.payload, "endorsement: not in canonical form")
    public_key(values["publicKey"])
    require(milliseconds(values["expiration"]) > now, "endorsement: expired")


def _signed(text: str, log: KeyLog, now: int, window: int, memory: BatchMemory | None) -> Verified:
    parts = members(text)
    if set(parts) & {"payload", "proof", "batch"}:
        return _batched(text, parts, log, now, window, memory or BatchMemory())
    require(set(parts) == {"body", "signature"}, "signed: members")
    payload, event, key = _body(parts["body"], log, now, window)
    verify(key, parts["body"], string(parts["signature"], "signed: signature"))
    return Verified(payload, read_payload(payload), event)


def _body(body: str, log: KeyLog, now: int, window: int) -> tuple[str, Event, str]:
    """A body's payload, its generation's event and key; the signature is the caller's to verify."""
    inner = members(body)
    require(list(inner) == ["payload", "hsm"], "body: members")
    hsm = read_object(inner["hsm"])
    require(list(hsm) == ["identity", "generationId"], "body: members of hsm")
    digest_bytes(hsm["identity"])
    digest_bytes(hsm["generationId"])
    tail = f'"hsm":{{"identity":"{hsm["identity"]}","generationId":"{hsm["generationId"]}"}}'
    require(body == f'{{"payload":{inner["payload"]},{tail}}}', "body: not in canonical form")
    require(hsm["identity"] == log.identity, "body: another identity")
    event = log.live(hsm["generationId"], now, window)
    return inner["payload"], event, event.public_key


def _batched(
    text: str, parts: dict[str, str], log: KeyLog, now: int, window: int, memory: BatchMemory
) -> Verified:
    require(list(parts) == ["payload", "proof", "batch"], "batched: members")
    proof, batch = members(parts["proof"]), members(parts["batch"])
    require(list(proof) == ["index", "path"], "batched: members of proof")
    require(list(batch) == ["body", "signature"], "batched: members of batch")
    path = [string(element, "batched: path") for element in elements(proof["path"])]
    quoted = ",".join(f'"{element}"' for element in path)
    rebuilt = (
        f'{{"payload":{parts["payload"]},"proof":{{"index":{proof["index"]},"path":[{quoted}]}},'
        f'"batch":{{"body":{batch["body"]},"signature":{batch["signature"]}}}}}'
    )
    require(text == rebuilt, "batched: not in canonical form")
    index = integer(Numeral(proof["index"]), "batched: index")
    values = read_payload(parts["payload"])

    payload, event, key = _body(batch["body"], log, now, window)
    memory.verify(key, batch["body"], string(batch["signature"], "batched: signature"))
    fields = read_object(payload)
    require(fields.get("purpose") == "batch", "batch: the signed body is no batch")
    require(list(fields) == ["purpose", "root", "size"], "batch: members")
    size = integer(fields["size"], "batch: size")
    canonical = f'{{"purpose":"batch","root":"{fields["root"]}","size":{size}}}'
    require(payload == canonical, "batch: not in canonical form")
    require(1 <= size <= MAX_BATCH, "batch: size out of range")
    root = root_of(parts["payload"], index, size, path)
    require(root == fields["root"], "proof: the path leads to another root")
    require(values.get("purpose") not in RESERVED, "batched: the leaf's purpose is reserved")
    return Verified(parts["payload"], values, event)


def root_of(payload: str, index: int, size: int, path: list[str]) -> str:
    """The root that an inclusion path of RFC 9162 leads to, with BLAKE3-256."""
    require(0 <= index < size, "proof: index outside the tree")
    siblings = [digest_bytes(element) for element in path]
    node, last = index, size - 1
    found = blake3(b"\x00" + payload.encode()).digest()
    while last > 0:
        if node % 2 == 1 or node < last:
            require(siblings, "proof: the path is too short")
            sibling = siblings.pop(0)
            left, right = (sibling, found) if node % 2 == 1 else (found, sibling)
            found = blake3(b"\x01" + left + right).digest()
        node, last = node // 2, last // 2
    require(not siblings, "proof: the path is too long")
    return digest_text(found)


def verify_head(
    text: str, log: KeyLog, now: int, max_staleness: int = 60_000, skew: int = 5000
) -> int:
    """A head statement that shows the log to be fresh; returns when it was issued, in milliseconds."""
    parts = members(text)
    require(set(parts) == {"body", "signature"}, "signed: members")
    named = read_object(members(parts["body"]).get("hsm", "{}")).get("generationId")
    if named != log.head.id:
        raise OtherHead("head: its generation is not the log's head")
    payload, event, key = _body(parts["body"], log, now, 0)
    verify(key, parts["body"], string(parts["signature"], "signed: signature"))
    fields = read_object(payload)
    require(fields.get("purpose") == "head", "head: the signed body is no head statement")
    require(list(fields) == ["purpose", "sequenceNumber", "issuedAt"], "head: members")
    number = integer(fields["sequenceNumber"], "head: sequenceNumber")
    issued_at = milliseconds(fields["issuedAt"])
    canonical = f'{{"purpose":"head","sequenceNumber":{number},"issuedAt":"{fields["issuedAt"]}"}}'
    require(payload == canonical, "head: not in canonical form")
    require(number == event.sequence_number, "head: names another event")
    require(issued_at <= now + skew, "head: from the future")
    require(now <= issued_at + max_staleness, "head: stale")
    return issued_at
