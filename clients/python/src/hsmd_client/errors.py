"""What can go wrong, one class a meaning."""


class Refused(Exception):
    """The input breaks a rule of the formats; the text says which."""


class Rollback(Refused):
    """A log lacks an event that this reader has verified before."""


class Fork(Refused):
    """A log holds another event of a number than the one that this reader has verified."""


class OtherHead(Refused):
    """A head statement is by another generation than the log's head: an older one, or one to come."""


class Stale(Exception):
    """Nothing proved for too long that the log is the newest: a frozen feed must not hide a taint."""


class Unavailable(Exception):
    """The daemon or its log can't be reached now; asking again may help."""


def require(condition: object, rule: str) -> None:
    """Raises `Refused` unless the condition holds."""
    if not condition:
        raise Refused(rule)
