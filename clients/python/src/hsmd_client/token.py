"""JSON Web Tokens by an endorsed key."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from .encoding import raw_signature


def token(
    key: ec.EllipticCurvePrivateKey, kid: str, claims: Mapping[str, Any], lifetime: float, expiration: int
) -> str:
    """An ES256 token that ends after `lifetime` seconds, and never later than `expiration` (milliseconds)."""
    now = time.time()
    timed = {**claims, "iat": int(now), "exp": int(min(now + lifetime, expiration / 1000))}
    signed = f"{_part({'alg': 'ES256', 'typ': 'JWT', 'kid': kid})}.{_part(timed)}"
    return f"{signed}.{_base64url(raw_signature(key, signed))}"


def _part(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
