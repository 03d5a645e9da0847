"""Text encodings (CESR), times and signatures: docs/formats.md, section 1."""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta, timezone

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .errors import Refused, require

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{3})Z", re.ASCII)
_URL_SAFE = re.compile(r"[A-Za-z0-9_-]*")


def _decode(text: object, what: str, code: str, lead: int, size: int) -> bytes:
    """The bytes of a text; `lead` zero bytes stand where the code's characters replaced the text's."""
    require(isinstance(text, str), f"{what}: not a string")
    assert isinstance(text, str)
    require(text.startswith(code), f"{what}: wrong code")
    encoded = "A" * len(code) + text[len(code):] if lead else text[len(code):]
    require(len(encoded) == (lead + size) * 4 // 3, f"{what}: wrong length")
    require(_URL_SAFE.fullmatch(encoded), f"{what}: not URL-safe base64")
    data = base64.urlsafe_b64decode(encoded)
    require(data[:lead] == bytes(lead), f"{what}: lead bits are not zero")
    return data[lead:]


def _encode(data: bytes, code: str, lead: int) -> str:
    text = base64.urlsafe_b64encode(bytes(lead) + data).decode()
    return code + (text[len(code):] if lead else text)


def digest(data: bytes) -> str:
    """BLAKE3-256 as text: code `E`, 44 characters."""
    return digest_text(blake3(data).digest())


def digest_text(data: bytes) -> str:
    """A digest's 32 bytes as text."""
    return _encode(data, "E", 1)


def digest_bytes(text: object) -> bytes:
    """A digest's text as its 32 bytes."""
    return _decode(text, "digest", "E", 1, 32)


def nonce_bytes(text: object) -> bytes:
    """A nonce's text as its 16 bytes."""
    return _decode(text, "nonce", "0A", 2, 16)


def public_key(text: object) -> ec.EllipticCurvePublicKey:
    """A P-256 public key: code `1AAI`, compressed, 48 characters."""
    point = _decode(text, "public key", "1AAI", 0, 33)
    require(point[0] in (2, 3), "public key: not a compressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise Refused("public key: the point is not on the curve") from error


def public_key_text(key: ec.EllipticCurvePublicKey) -> str:
    """The text of a P-256 public key."""
    require(isinstance(key.curve, ec.SECP256R1), "public key: not on P-256")
    return _encode(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint), "1AAI", 0)


def verify(key: str, message: str, signature: object) -> None:
    """ECDSA over SHA-256 of the exact text; high and low s are both good."""
    data = signature_bytes(signature)
    r, s = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
    try:
        public_key(key).verify(encode_dss_signature(r, s), message.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise Refused("signature: not made by this key over this text") from error


def signature_bytes(text: object) -> bytes:
    """A signature's text as r and s, 32 bytes each."""
    data = _decode(text, "signature", "0I", 2, 64)
    halves = (int.from_bytes(half, "big") for half in (data[:32], data[32:]))
    require(all(0 < half < _ORDER for half in halves), "signature: r or s out of range")
    return data


def sign(key: ec.EllipticCurvePrivateKey, message: str) -> str:
    """A signature's text: code `0I`, 88 characters."""
    return _encode(raw_signature(key, message), "0I", 2)


def raw_signature(key: ec.EllipticCurvePrivateKey, message: str) -> bytes:
    """r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def milliseconds(text: object) -> int:
    """A time like 2026-11-22T11:22:33.044Z as whole milliseconds since 1970."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    require(match, "time: not of the form 2026-11-22T11:22:33.044Z")
    assert match
    year, month, day, hour, minute, second, milli = map(int, match.groups())
    try:
        instant = datetime(year, month, day, hour, minute, second, milli * 1000, timezone.utc)
    except ValueError as error:
        raise Refused(f"time: {text} is not in the calendar") from error
    return (instant - _EPOCH) // timedelta(milliseconds=1)
