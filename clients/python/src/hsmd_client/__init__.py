"""Verifies hsmd's key log and what its HSM endorsed, and keeps a service's key endorsed.

Offline: `KeyLog.parse`, `verify_endorsement`, `verify_signed`, `verify_head`. In a service:
`FollowedLog` follows the daemon's log and says when it is stale, `Endorser` keeps a key endorsed through
rotations and taints.
"""

from .encoding import (
    digest, digest_bytes, milliseconds, nonce_bytes, public_key, public_key_text, sign, signature_bytes, verify,
)  # fmt: skip
from .endorser import Endorsement, Endorser
from .errors import Fork, OtherHead, Refused, Rollback, Stale, Unavailable
from .followed import FollowedLog
from .http import HttpSource
from .keylog import HOUR, Anchor, Event, KeyLog, read_events
from .signed import BatchMemory, Verified, verify_endorsement, verify_head, verify_signed

__all__ = [
    "Anchor", "BatchMemory", "Endorsement", "Endorser", "Event", "FollowedLog", "Fork", "HOUR", "HttpSource",
    "KeyLog", "OtherHead", "Refused", "Rollback", "Stale", "Unavailable", "Verified", "digest",
    "digest_bytes", "milliseconds", "nonce_bytes", "public_key", "public_key_text", "read_events", "sign",
    "signature_bytes", "verify", "verify_endorsement", "verify_head", "verify_signed",
]  # fmt: skip
