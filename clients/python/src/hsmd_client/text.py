"""JSON whose exact text counts: values are cut out by a real parser, numbers stay text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Callable

from .errors import Refused, require

MAX_LEVELS = 32
# What stands around an event in a published log, its signature included: what is shorter is no entry.
MIN_ENTRY = 116
# An entry of the longest event has 523 characters; the rest is room for blanks.
MAX_ENTRY = 4096
_BLANKS = " \t\r\n"
_BLANK_RUN = re.compile(f"[{_BLANKS}]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    require(len(set(names)) == len(names), "JSON: duplicate name")
    for name, value in pairs:
        _whole(name)
        _whole(value)
    return dict(pairs)


def _whole(value: Any) -> None:
    """Strings hold no half of a surrogate pair."""
    if isinstance(value, list):
        for item in value:
            _whole(item)
    elif isinstance(value, str):
        require(not _SURROGATE.search(value), "JSON: lone surrogate")


def _constant(name: str) -> None:
    raise Refused(f"JSON: {name}")


class Numeral(str):
    """A number as it was written."""


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=Numeral, parse_float=Numeral, parse_constant=_constant
)


def _value(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise Refused(f"JSON: {error}") from error


def _skip(text: str, position: int) -> int:
    run = _BLANK_RUN.match(text, position)
    return run.end() if run else position


def _items(text: str, brackets: str, item: Callable[[int], int]) -> None:
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


def elements(text: str) -> list[str]:
    """The exact text of each element of an array."""
    found: list[str] = []

    def element(start: int) -> int:
        _, end = _value(text, start)
        found.append(text[start:end])
        return end

    _items(text, "[]", element)
    return found


def entries(text: str) -> Iterator[str]:
    """The exact text of each entry of a published log, up to the first that is too short to be one.

    Each is read when it is asked for, so what follows a refused one costs nothing, and no entry is long: a hostile
    log takes little more memory than its text.
    """
    position = _skip(text, 0)
    require(text[position : position + 1] == "[", "JSON: [ expected")
    position = _skip(text, position + 1)
    number, more = 0, text[position : position + 1] != "]"
    while more:
        window = text[position : position + MAX_ENTRY + 1]
        try:
            _, length = _value(window, 0)
            require(length <= MAX_ENTRY, "too long")
        except Refused as error:
            raise Refused(f"log: entry {number} is no JSON of at most {MAX_ENTRY} characters: {error}") from error
        yield window[:length]
        if length < MIN_ENTRY:
            return
        position = _skip(text, position + length)
        number, more = number + 1, text[position : position + 1] == ","
        if more:
            position = _skip(text, position + 1)
    require(text[position : position + 1] == "]", "JSON: ] expected")
    require(_skip(text, position + 1) == len(text), "JSON: something follows the value")


def members(text: str) -> dict[str, str]:
    """The exact text of each member's value of an object, in its order."""
    found: list[tuple[str, Any]] = []

    def member(start: int) -> int:
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


def string(text: str, what: str) -> str:
    """The value of a string's text that has nothing escaped."""
    require(re.fullmatch(r'"[^"\\]*"', text), f"{what}: not a plain string")
    return text[1:-1]


def read_object(text: str) -> dict[str, Any]:
    """An object's values; numbers as their text."""
    value, end = _value(text, 0)
    require(isinstance(value, dict), "JSON: not an object")
    require(end == len(text), "JSON: something follows the object")
    values: dict[str, Any] = value
    return values


def read_payload(text: str) -> dict[str, Any]:
    """What may be signed: one object, compact, at most 32 levels deep."""
    value = read_object(text)
    outside = _STRING.sub("", text)
    require(not any(blank in outside for blank in _BLANKS), "payload: blank outside strings")
    depth = deepest = 0
    for character in outside:
        depth += (character in "{[") - (character in "}]")
        deepest = max(deepest, depth)
    require(deepest <= MAX_LEVELS, "payload: more than 32 levels")
    return value
