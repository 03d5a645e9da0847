"""A reader that folds case, as Go's encoding/json does: what it takes for an endorsement.

It stands for the readers of other people. A member of the wanted name is found whatever its case,
and of several the last one counts; with `rebuild` it also compares the text, as docs/formats.md says.
"""

import json

FIELDS = ("purpose", "publicKey", "expiration")
OTHER_FOLDS = {"\u017f": "s", "\u212a": "k"}


def fold(name):
    """ASCII case folding, and the two other characters that fold to ASCII letters."""
    return "".join(OTHER_FOLDS.get(c, c.lower() if c.isascii() else c) for c in name)


def read_endorsement(payload, rebuild):
    """The three members if the reader takes the payload for an endorsement, else None."""
    found = {}
    for name, value in json.loads(payload, object_pairs_hook=list):
        for field in FIELDS:
            if fold(name.split("\0")[0]) == fold(field) and isinstance(value, str):
                found[field] = value
    if set(found) != set(FIELDS):
        return None
    text = "{" + ",".join(f'"{field}":{json.dumps(found[field])}' for field in FIELDS) + "}"
    return None if rebuild and text != payload else found


def mistaken(key, expiration):
    """Documents of the purpose `document` that such a reader takes for an endorsement of `key`."""
    names = [
        ("Purpose", "PublicKey", "Expiration"),
        ("PURPOSE", "PUBLICKEY", "EXPIRATION"),
        ("Purpose", "publickey", "eXpiration"),
        ("purpo\u017fe", "public\u212aey", "Expiration"),
        ("purpo\\u017fe", "public\\u212aey", "\\u0045xpiration"),
        ("purpose\\u0000", "publicKey\\u0000", "expiration\\u0000"),
    ]
    return [
        f'{{"purpose":"document","{purpose}":"access","{key_name}":"{key}","{end}":"{expiration}"}}'
        for purpose, key_name, end in names
    ]
