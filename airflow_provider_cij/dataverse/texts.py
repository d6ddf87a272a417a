"""Text and JSON from outside, made safe for logs, databases and Airflow's serializers. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_cij._lines import cleaned

LONGEST_WORDS = 1000
"""Characters of a server's message in an error or a log line, at most."""

# Halves of surrogate pairs as escapes, at any depth of JSON in strings. Two halves at one depth are a whole character.
_PAIRS = "|".join(
    rf"(?:\\{{{2 * n}}})*\\{{{n}}}u[dD][89abAB][0-9a-fA-F]{{2}}\\{{{n}}}u[dD][c-fC-F][0-9a-fA-F]{{2}}"
    for n in (1, 2, 4, 8)
)
_ESCAPES = re.compile(rf"(?<!\\)(?P<pair>{_PAIRS})|(?<!\\)(?P<before>\\+u)(?:[dD][89a-fA-F][0-9a-fA-F]{{2}}|0000)")
_LARGEST = 2**63
_DEEPEST = 20


def text_of(body: bytes) -> str:
    """Decode a body. Characters that a database can't store become U+FFFD.

    :param body: bytes in UTF-8, UTF-16 or UTF-32
    :raises ValueError: the body is in none of these encodings
    """
    return cleaned(body.decode(json.detect_encoding(body), "surrogatepass"))


def json_of(body: bytes) -> Any:
    """Parse a JSON body into values that every later step can store.

    :param body: JSON in UTF-8, UTF-16 or UTF-32
    :raises ValueError: the body is no JSON, or holds NaN, an infinity or a number of more than 64 bits
    :raises RecursionError: the body is nested too deeply
    """
    text = text_of(body)
    if "\\u" in text:
        text = _ESCAPES.sub(lambda found: found["pair"] or found["before"] + "fffd", text)
    return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_bounded)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20 or not -_LARGEST <= (number := int(text)) < _LARGEST:
        raise ValueError("a number is too large")
    return number


def storable(value: Any, depth: int = _DEEPEST) -> Any:
    """Return a copy of a value that Airflow can serialize and a database can store.

    :param value: of any type; what JSON can't express becomes text
    :param depth: levels of lists and objects to keep, by default 20; a text replaces what is deeper
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return cleaned(str(value))
    if isinstance(value, int):
        return int(value) if -_LARGEST <= value < _LARGEST else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if not depth:
        return "nested too deeply"
    if isinstance(value, Mapping):
        return {cleaned(str(name)): storable(item, depth - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [storable(item, depth - 1) for item in value]
    return cleaned(str(value))


def shortened(text: str) -> str:
    """Return a text cut to 1,000 characters, with an ellipsis where it was cut.

    :param text: the text
    """
    return text if len(text) <= LONGEST_WORDS else f"{text[:LONGEST_WORDS]}…"


def wrong_with(error: Exception) -> str:
    """Return what is wrong with a row, from the exception that reading it raised.

    :param error: a ``KeyError`` for a missing column, or an error whose text says what is wrong
    """
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
