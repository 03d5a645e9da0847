"""What the services share in Redis: endorsements, revoked devices and used nonces (docs/services.md)."""

from __future__ import annotations

import secrets

import redis

from access import AGE, SKEW

ACCESS, RESPONSE, REVOKED, NONCES = 0, 1, 3, 5

# Whether this process of Redis can vouch for what it does not hold: it must not evict entries.
_SERVER = """
local server = redis.call('INFO', 'server')
local run_id = string.match(server, 'run_id:(%w+)')
if string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:(%w+)') ~= 'noeviction' then return 'unknown' end
"""

# The same entries as those of hsmd-app, so that a request to one application is used up for all. After a flush
# or a restart an earlier use may be forgotten, so requests stamped before it plus the skew can't be judged.
_USE = _SERVER + """
local stamp, skew, keep, attempt = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run, since = string.match(redis.call('GET', KEYS[1]) or '', '^(%w+):(%d+)$')
since = tonumber(since)
if run ~= run_id or since > now then
  since = now
  redis.call('SET', KEYS[1], run_id .. ':' .. string.format('%d', now))
end
if not stamp then
  redis.call('SET', KEYS[1], run_id .. ':' .. string.format('%d', since))
  return now > since + skew and 'fresh' or 'unknown'
end
if stamp <= since + skew or stamp > now + skew then return 'unknown' end
local user = redis.call('GET', KEYS[2])
if user then return user == attempt and 'fresh' or 'used' end
redis.call('SET', KEYS[2], attempt, 'PX', keep)
return 'fresh'
"""

# Auth writes the marker when it has written every revocation into this process of Redis.
_STATUS = _SERVER + """
if redis.call('EXISTS', KEYS[2]) == 1 then return 'revoked' end
return redis.call('GET', KEYS[1]) == run_id and 'active' or 'unknown'
"""


class Unknown(Exception):
    """Redis can't tell now; nothing was decided."""


class Stores:
    def __init__(self, url: str) -> None:
        options = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "decode_responses": True}
        numbers = (ACCESS, RESPONSE, REVOKED, NONCES)
        self._databases = {number: redis.Redis.from_url(url, db=number, **options) for number in numbers}

    def endorsement(self, key: str) -> str | None:
        """What is stored for a server's access key; nothing of it is verified."""
        return self._databases[ACCESS].get(key)

    def publish(self, key: str, text: str, expiration: int) -> None:
        """Keeps our endorsement where readers find it; a flush takes it away."""
        if self._databases[RESPONSE].get(key) != text:
            self._databases[RESPONSE].set(key, text, pxat=expiration + 60_000)

    def use_nonce(self, nonce: str, timestamp: int) -> bool:
        """Whether it was not used before. Now it is."""
        return self._use(nonce, str(timestamp)) == "fresh"

    def is_revoked(self, device: str) -> bool:
        status = self._databases[REVOKED].eval(_STATUS, 2, "complete", device)
        if status == "unknown":
            raise Unknown("Redis does not hold all revocations")
        return status == "revoked"

    def check(self) -> None:
        """Raises `Unknown` while no request could be judged."""
        self._use("", "")
        self.is_revoked("")

    def _use(self, nonce: str, timestamp: str) -> str:
        # A repetition after a lost reply is the same attempt.
        arguments = (timestamp, SKEW, AGE + SKEW, secrets.token_hex(16))
        answer = self._databases[NONCES].eval(_USE, 2, "since", nonce, *arguments)
        if answer == "unknown":
            raise Unknown("Redis has forgotten which requests were made")
        return answer
