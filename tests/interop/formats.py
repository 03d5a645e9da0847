"""The text formats: CESR values, times, and JSON whose exact text counts.

Written from the wire sections of the design alone, so that it shares no mistake with the Rust code.
Every function returns what it read or raises `Refused`.
"""

import base64
import json
import re
from datetime import datetime, timedelta, timezone

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MAX_LEVELS = 32
BLANKS = " \t\r\n"


class Refused(Exception):
    """The input breaks a rule; the text says which."""


def require(condition, rule):
    """Raises `Refused` unless the condition holds."""
    if not condition:
        raise Refused(rule)


def _decode(text, what, code, lead, size):
    """Bytes of a CESR text: `code` stands in the place of the first base64 characters."""
    require(isinstance(text, str), f"{what}: not a string")
    replaced = len(code) if lead else 0
    encoded = "A" * replaced + text[replaced:] if lead else text[len(code):]
    length = (lead + size) * 4 // 3
    require(text.startswith(code), f"{what}: wrong code")
    require(len(encoded) == length, f"{what}: wrong length")
    require(re.fullmatch(r"[A-Za-z0-9_-]*", encoded), f"{what}: not URL-safe base64")
    data = base64.urlsafe_b64decode(encoded)
    require(data[:lead] == bytes(lead), f"{what}: lead bits are not zero")
    return data[lead:]


def encode(data, code, lead):
    text = base64.urlsafe_b64encode(bytes(lead) + data).decode()
    return code + (text[len(code):] if lead else text)


def digest(data):
    """BLAKE3-256 as text, code E."""
    return encode(blake3(data).digest(), "E", 1)


def check_digest(text):
    digest_bytes(text)
    return text


def digest_bytes(text):
    """The 32 bytes of a digest's text."""
    return _decode(text, "digest", "E", 1, 32)


def leaf_hash(payload):
    """The hash of a leaf of a batch's tree: 32 bytes."""
    return blake3(b"\x00" + payload.encode()).digest()


def node_hash(left, right):
    """The hash of an inner node of a batch's tree."""
    return blake3(b"\x01" + left + right).digest()


def nonce(data):
    """A 128-bit nonce as text, code 0A."""
    return encode(data, "0A", 2)


def public_key(text):
    """A P-256 key, code 1AAI, as an object that verifies."""
    point = _decode(text, "public key", "1AAI", 0, 33)
    require(point[0] in (2, 3), "public key: not a compressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise Refused("public key: the point is not on the curve") from error


def verify_signature(key_text, message, signature_text):
    """ECDSA P-256 over SHA-256 of the message; high and low s are both good."""
    data = _decode(signature_text, "signature", "0I", 2, 64)
    r, s = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
    require(0 < r < P256_ORDER and 0 < s < P256_ORDER, "signature: r or s out of range")
    try:
        public_key(key_text).verify(
            encode_dss_signature(r, s), message.encode(), ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature as error:
        raise Refused("signature: not made by this key over this text") from error


def milliseconds(text):
    """A time in the wire form as whole milliseconds since 1970."""
    require(
        isinstance(text, str)
        and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", text),
        "time: not of the form 2025-11-01T00:00:00.000Z",
    )
    year, month, day, hour, minute, second, milli = map(int, re.findall("[0-9]+", text))
    try:
        instant = datetime(year, month, day, hour, minute, second, milli * 1000, timezone.utc)
    except ValueError as error:
        raise Refused(f"time: {text} is not in the calendar") from error
    return (instant - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)


def _pairs(pairs):
    names = [name for name, _ in pairs]
    require(len(set(names)) == len(names), "JSON: duplicate name")
    for text in names + [value for _, value in pairs]:
        _no_lone_surrogate(text)
    return dict(pairs)


def _no_lone_surrogate(value):
    if isinstance(value, list):
        for item in value:
            _no_lone_surrogate(item)
    elif isinstance(value, str):
        require(not re.search("[\ud800-\udfff]", value), "JSON: lone surrogate")


def _not_a_number(name):
    raise Refused(f"JSON: {name}")


# Numbers stay text: only their spelling counts here.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=str, parse_float=str, parse_constant=_not_a_number
)


def _value(text, start):
    """The JSON value that begins at `start`, and where it ends."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise Refused(f"JSON: {error}") from error


def _skip(text, position):
    while text[position : position + 1] in tuple(BLANKS):
        position += 1
    return position


def _items(text, brackets, item):
    """Calls `item(start) -> end` for each item between the brackets; nothing may follow them."""
    position = _skip(text, 0)
    require(text[position : position + 1] == brackets[0], f"JSON: {brackets[0]} expected")
    position = _skip(text, position + 1)
    if text[position : position + 1] != brackets[1]:
        while True:
            position = _skip(text, item(position))
            if text[position : position + 1] != ",":
                break
            position = _skip(text, position + 1)
    require(text[position : position + 1] == brackets[1], f"JSON: {brackets[1]} expected")
    require(_skip(text, position + 1) == len(text), "JSON: something follows the value")


def elements(text):
    """The exact text of each element of a JSON array."""
    found = []

    def element(start):
        _, end = _value(text, start)
        found.append(text[start:end])
        return end

    _items(text, "[]", element)
    return found


def members(text):
    """The exact text of each member's value of a JSON object, in order."""
    found = []

    def member(start):
        require(text[start : start + 1] == '"', "JSON: a name expected")
        name, end = _value(text, start)
        colon = _skip(text, end)
        require(text[colon : colon + 1] == ":", "JSON: a colon expected")
        begin = _skip(text, colon + 1)
        _, end = _value(text, begin)
        found.append((name, text[begin:end]))
        return end

    _items(text, "{}", member)
    return _pairs(found)


def read_object(text):
    """A JSON object's values; numbers as their text."""
    value, end = _value(text, 0)
    require(isinstance(value, dict), "JSON: not an object")
    require(end == len(text), "JSON: something follows the object")
    return value


def read_payload(text):
    """A payload that may be signed: compact, at most 32 levels deep."""
    value = read_object(text)
    outside_strings = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    require(not any(blank in outside_strings for blank in BLANKS), "payload: blank outside strings")
    depth = deepest = 0
    for character in outside_strings:
        depth += (character in "{[") - (character in "}]")
        deepest = max(deepest, depth)
    require(deepest <= MAX_LEVELS, "payload: more than 32 levels")
    return value
