"""What is checked before a request is served, in the order of docs/protocol.md, section 3."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hsmd_client as hsmd
from hsmd_client.errors import require
from hsmd_client.text import members, read_object, read_payload, string

# How far back a generation of the HSM may have ended whose endorsed server key signed a token.
LOOK_BACK = 12 * hsmd.HOUR + hsmd.HOUR // 4
AGE = 30_000
SKEW = 5_000
MAX_TOKEN = MAX_JSON = 16 << 10

_TOKEN = (
    "serverIdentity", "device", "identity", "publicKey", "rotationHash", "issuedAt", "expiry", "refreshExpiry",
    "attributes",
)  # fmt: skip
_TIME = re.compile(r"(.{23})[0-9]{0,6}Z", re.DOTALL)
_SIGNATURE_LENGTH = 88


class Refusal(Exception):
    """What is answered instead of a reply: a status, and a code and a text of the protocol."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


MALFORMED = Refusal(400, "BA101", "the message is malformed")
SIGNATURE = Refusal(401, "BA101", "the signature does not verify")
SERVER_KEY = Refusal(401, "BA000", "the access token's server key is not endorsed")
EXPIRED = Refusal(422, "BA401", "the access token has expired")
TOKEN_FROM_FUTURE = Refusal(422, "BA403", "the access token is from the future")
STALE = Refusal(422, "BA501", "the request is stale")
FROM_FUTURE = Refusal(422, "BA502", "the request is from the future")
REVOKED = Refusal(403, "", "device revoked")
UNAUTHORIZED = Refusal(401, "", "unauthorized")
UNAVAILABLE = Refusal(503, "BA000", "the service is not available")


@dataclass(frozen=True)
class Message:
    """A message as it came: nothing in it is verified."""

    payload: str
    signature: str
    nonce: str
    timestamp: int
    request: str
    token: Token

    @classmethod
    def parse(cls, body: bytes) -> Message:
        envelope = members(body.decode())
        require(set(envelope) == {"payload", "signature"}, "members of the message")
        payload, signature = envelope["payload"], string(envelope["signature"], "signature")
        hsmd.signature_bytes(signature)
        read_payload(payload)
        parts = members(payload)
        require(set(parts) == {"access", "request"}, "members of the payload")
        access = members(parts["access"])
        require(list(access) == ["nonce", "timestamp", "token"], "members of access")
        nonce, timestamp, token = (string(text, name) for name, text in access.items())
        hsmd.nonce_bytes(nonce)
        return cls(payload, signature, nonce, _time(timestamp), parts["request"], Token.parse(token))


@dataclass(frozen=True)
class Token:
    """An access token: a signature, then the compressed JSON that it covers."""

    text: str
    signature: str
    server: str
    device: str
    public_key: str
    issued_at: int
    expiry: int
    attributes: Any

    @classmethod
    def parse(cls, token: str) -> Token:
        require(_SIGNATURE_LENGTH <= len(token) <= MAX_TOKEN, "token: length")
        signature, packed = token[:_SIGNATURE_LENGTH], token[_SIGNATURE_LENGTH:]
        hsmd.signature_bytes(signature)
        text = _unpack(packed).decode()
        values, exact = read_payload(text), members(text)
        require(tuple(values) == _TOKEN, "token: members")
        plain = {name: string(exact[name], name) for name in _TOKEN[:-1]}
        for name in ("serverIdentity", "publicKey"):
            hsmd.public_key(plain[name])
        for name in ("device", "identity", "rotationHash"):
            hsmd.digest_bytes(plain[name])
        issued_at, expiry, _ = (_time(plain[name]) for name in ("issuedAt", "expiry", "refreshExpiry"))
        return cls(
            text, signature, plain["serverIdentity"], plain["device"], plain["publicKey"], issued_at, expiry,
            values["attributes"],
        )  # fmt: skip

    def permits(self, role: str, permission: str) -> bool:
        """Attributes of another shape permit nothing."""
        roles = self.attributes.get("permissionsByRole") if isinstance(self.attributes, dict) else None
        granted = roles.get(role) if isinstance(roles, dict) else None
        return isinstance(granted, list) and permission in granted


def verify(
    body: bytes,
    now: int,
    is_endorsed: Callable[[str], bool],
    use_nonce: Callable[[str, int], bool],
    is_revoked: Callable[[str], bool],
) -> Message:
    """A message that passed every check, or `Refusal`."""
    try:
        message = Message.parse(body)
    except (hsmd.Refused, UnicodeDecodeError):
        raise MALFORMED from None
    token = message.token
    _refuse_unless(is_endorsed(token.server), SERVER_KEY)
    _verify(token.server, token.text, token.signature)
    _refuse_unless(token.issued_at <= now + SKEW, TOKEN_FROM_FUTURE)
    _refuse_unless(now <= token.expiry, EXPIRED)
    _verify(token.public_key, message.payload, message.signature)
    _refuse_unless(now <= message.timestamp + AGE, STALE)
    _refuse_unless(message.timestamp <= now + SKEW, FROM_FUTURE)
    _refuse_unless(use_nonce(message.nonce, message.timestamp), STALE)
    _refuse_unless(not is_revoked(token.device), REVOKED)
    _refuse_unless(token.permits("user", "read"), UNAUTHORIZED)
    return message


def foo_bar(request: str) -> tuple[str, str]:
    """The members of the request, which may come in either order."""
    try:
        values = read_object(request)
        require(set(values) == {"foo", "bar"}, "members of the request")
        # A number would be a kind of string, too.
        require(all(type(value) is str for value in values.values()), "members of the request")
        return values["foo"], values["bar"]
    except hsmd.Refused:
        raise MALFORMED from None


def _refuse_unless(condition: bool, refusal: Refusal) -> None:
    if not condition:
        raise refusal


def _verify(key: str, text: str, signature: str) -> None:
    try:
        hsmd.verify(key, text, signature)
    except hsmd.Refused:
        raise SIGNATURE from None


def _time(text: str) -> int:
    """Published clients write up to nine fraction digits; what is finer than a millisecond is cut off."""
    match = _TIME.fullmatch(text)
    return hsmd.milliseconds(f"{match[1]}Z" if match else text)


def _unpack(packed: str) -> bytes:
    """Base64url of one gzip member, of a bounded size."""
    require(re.fullmatch("[A-Za-z0-9_-]*", packed), "token: not base64url")
    try:
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        require(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == packed, "token: not base64url")
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        text = unpacker.decompress(data, MAX_JSON + 1)
    except (ValueError, zlib.error) as error:
        raise hsmd.Refused("token: not gzip") from error
    require(len(text) <= MAX_JSON and unpacker.eof, "token: unfolds to too much, or ends early")
    require(not unpacker.unused_data, "token: followed by something")
    return text
