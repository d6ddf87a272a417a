"""Values from files, databases, lists, connections and the service: as text, and without what surrounds them. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from airflow_provider_cij.errors import CijInputError

# White space and control characters, and what Unicode has for them to be ignored where it can't be shown
# (Default_Ignorable_Code_Point, DerivedCoreProperties.txt): zero-width and fill characters, marks of direction and byte
# order, variation selectors, tags. Besides, the blank of braille and the marks of annotations.
_SPACE = (
    r"\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_EXACT = 2**53
_LONGEST_NUMBER = 100


@functools.cache
def _invisible() -> re.Pattern[str]:
    # Compiled at its first use: DAG files that name a source import this module.
    return re.compile(f"[{_SPACE}]+")


def trimmed(text: str) -> str:
    """Return a text without the white space and the invisible characters around it.

    These are white space of every kind, control characters, zero-width characters, and marks of byte order and of
    direction.

    :param text: any text
    """
    if text.isascii() and text.isprintable():  # the usual text: a space is all that can surround it
        return text.strip(" ")
    invisible = _invisible()
    found = invisible.match(text)
    start = found.end() if found else 0
    end = len(text)
    while end > start and invisible.match(text, end - 1):
        end -= 1
    return text[start:end]


def text_of_value(value: Any) -> str:
    """Return a value as the text that a CSV file would hold. None and what is no number of its type (NaN) are ``""``.

    A number that is whole is written as an integer, and no number has zeros at the end of its fraction: the types of
    pandas, Parquet and the drivers write one number in several ways. A float of 2**53 or more has lost digits, and
    stays as Python writes it.

    :param value: a value of any type that a file, a driver or the service gives
    :raises CijInputError: the value is several, or bytes that are no text; the error says which, and not the value
    """
    if isinstance(value, str):
        return str(value)
    if is_nothing(value):
        return ""
    if isinstance(value, (int, float, Decimal)):
        return _number(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _decoded(bytes(value))
    if isinstance(value, (Mapping, list, tuple, AbstractSet)):
        hint = "Name the field that is meant as column." if isinstance(value, Mapping) else "Give one value a row."
        raise CijInputError(f"{kind_of(value)}, where one value is expected.", hint=hint)
    plain = _unwrapped(value)
    return str(value) if plain is None else text_of_value(plain)


def _unwrapped(value: Any) -> Any:
    """Return the value that a scalar of Arrow or numpy holds; None for anything else."""
    if hasattr(value, "as_py"):
        return value.as_py()
    return value.tolist() if getattr(getattr(value, "dtype", None), "kind", "-") in "biuf" else None


def is_nothing(value: Any) -> bool:
    """Return whether a value is none: None, or its type's "not a number", "not a time" or "not available".

    The text "nan" is a value.

    :param value: a value of any type
    """
    if hasattr(value, "as_py"):  # a scalar of Arrow
        value = value.as_py()
    if value is None or (isinstance(value, Decimal) and value.is_nan()):
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas' NA can't be compared, and an array is many values
        return type(value).__name__ == "NAType"


def kind_of(value: Any) -> str:
    """Return what kind of value a value is, for an error: never the value itself.

    :param value: a value of any type
    """
    if isinstance(value, Mapping):
        return f"an object of {len(value):,} fields"
    if isinstance(value, (list, tuple, AbstractSet)):
        return f"a {type(value).__name__} of {len(value):,} values"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(bytes(value)):,} bytes of binary"
    kinds: dict[type, str] = {str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else kinds.get(type(value), f"a value of type {type(value).__name__}")


def _number(value: int | float | Decimal) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(float(value))
    if not value.is_finite() or abs(value.adjusted()) > _LONGEST_NUMBER:
        return str(value)
    if value == value.to_integral_value():
        return str(int(value))
    return f"{value:f}".rstrip("0")


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CijInputError(
            f"{kind_of(value)}, which are no text.",
            hint="Convert them in the query, with HEX(id) for example, or give the column the type of a UUID.",
        ) from None
