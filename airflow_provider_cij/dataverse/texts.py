"""Text from outside becomes text that logs, databases and Airflow's serializers take. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

LONGEST_WORDS = 1000
"""Characters of a server's words in an error or a log line."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# The same as escapes, at any depth of JSON in strings. A pair of halves at one depth is a whole character.
_ESCAPES = re.compile(
    r"(?<!\\)(?P<pair>(?P<depth>\\|\\{2}|\\{4}|\\{8})u[dD][89abAB][0-9a-fA-F]{2}(?P=depth)u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<before>\\+u)(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_COMMAND = re.compile(r"::(?=[a-z]+[ \w=,.-]*::)", re.IGNORECASE)
_LARGEST = 2**63


def text_of(body: bytes) -> str:
    """Decode a body; what can't be stored becomes U+FFFD.

    :param body: in UTF-8, UTF-16 or UTF-32
    :raises ValueError: it is none of these
    """
    return cleaned(body.decode(json.detect_encoding(body), "surrogatepass"))


def json_of(body: bytes) -> Any:
    """Parse a body that every later step can store.

    :param body: JSON
    :raises ValueError: it is no JSON, or holds a number that is none or has more than 64 bits
    :raises RecursionError: it is nested too deeply
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


def cleaned(text: str) -> str:
    """Replace what no database stores: NUL and halves of surrogate pairs."""
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("\ufffd", text)


def storable(value: Any) -> Any:
    """Return a copy of a value that Airflow can serialize and a database can store.

    :param value: of any type; what JSON has no word for becomes text
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return cleaned(str(value))
    if isinstance(value, int):
        return int(value) if -_LARGEST <= value < _LARGEST else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    try:
        if isinstance(value, Mapping):
            return {cleaned(str(name)): storable(one) for name, one in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [storable(one) for one in value]
        return cleaned(str(value))
    except RecursionError:
        return "nested too deeply"


def one_line(text: str) -> str:
    """Take out control characters and the commands that log viewers follow (``::group::``)."""
    return _COMMAND.sub(": :", _CONTROL.sub(" ", cleaned(text))).strip()


def shortened(text: str, limit: int = LONGEST_WORDS) -> str:
    """Cut a text.

    :param text: to be cut
    :param limit: characters to keep
    """
    return text if len(text) <= limit else f"{text[:limit]}…"
