"""OData as Dataverse speaks it: ids, quoting, query options. Pure functions over plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, urlsplit

from airflow_provider_cij.errors import CijInputError

URL_LIMIT = 32_768
"""Characters of a whole URL (Dataverse docs, Query data); what goes beyond is refused."""

_READABLE = "$,()='/:;"
_DASHES = (8, 13, 18, 23)
_PLACES = [place for place in range(36) if place not in _DASHES]
_HEX = r"[0-9a-fA-F]"
_DASHED = rf"{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}"
# Upper case, braces and 32 bare digits are spellings people and exports use; the service answers lower case, dashed.
_ANY_SPELLING = re.compile(rf"\s*(?:({_DASHED})|\{{({_DASHED})\}}|({_HEX}{{32}}))\s*")
_MEANS_SOMETHING = re.compile(r"""[\x00-\x1f"'\\\[\]]""")


def key_of(value: object) -> bytes | None:
    """Read one id in any spelling.

    :param value: an id: dashed or bare, in braces, in any case; a ``uuid.UUID`` as well
    :return: its 16 bytes, or None when it is no GUID
    """
    found = _ANY_SPELLING.fullmatch(str(value))
    if not found:
        return None
    return bytes.fromhex((found[1] or found[2] or found[3]).replace("-", ""))


def keys_of(values: Sequence[object]) -> tuple[bytes, list[int]]:
    """Read many ids at once.

    :param values: ids, as ``key_of`` takes them
    :return: the keys of those that are GUIDs, 16 bytes each, joined; and the positions of those that are not
    """
    if (keys := _keys_of_plain(values)) is not None:
        return keys, []
    one_by_one = [key_of(value) for value in values]
    bad = [position for position, key in enumerate(one_by_one) if key is None]
    return b"".join(key for key in one_by_one if key), bad


def _keys_of_plain(values: Sequence[object]) -> bytes | None:
    """Read ids that all are plain (dashed, nothing around), in one go: ten times faster than one by one."""
    try:
        lines = "\n".join(values)  # type: ignore[arg-type]  # what is no string is told apart one by one
        keys = bytes.fromhex(lines.replace("-", ""))
    except (TypeError, ValueError):
        return None
    # 36 characters and a line end each, dashes where they belong. The other 32 are digits, or the keys are too short.
    count = len(values)
    plain = len(lines) == 37 * count - 1 and len(keys) == 16 * count and lines[36::37] == "\n" * (count - 1)
    return keys if plain and all(lines[place::37] == "-" * count for place in _DASHES) else None


def texts_of(keys: bytes | bytearray) -> list[str]:
    """Write ids as the service does: lower case, dashed.

    :param keys: 16 bytes each, joined
    """
    # All first digits, then all second ones: 32 steps for a batch instead of five slices for each id.
    digits, count = keys.hex().encode(), len(keys) // 16
    lines = bytearray(b"-" * 36 + b"\n") * count
    for digit, place in enumerate(_PLACES):
        lines[place::37] = digits[digit::32]
    return lines.decode().split()


def guid(value: object, what: str = "id") -> str:
    """Normalise one id to lower case, dashed.

    :param value: the id in any spelling
    :param what: its name in the error
    :raises CijInputError: it is no GUID
    """
    key = key_of(value)
    if key is None:
        raise CijInputError(f"{what} is {str(value)!r}, which is no GUID.", hint="Give an id such as 00000000-….")
    return texts_of(key)[0]


def literal(value: str | int | float | bool | None) -> str:
    """Write a value for ``$filter``. A quote inside a string is doubled (Dataverse docs, Filter rows)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def is_in(column: str, values: Iterable[str]) -> str:
    """Ask in ``$filter`` for rows whose column has one of some values (Dataverse docs, In function).

    :param column: its logical name
    :param values: at least one; strings whatever the column holds
    """
    listed = ",".join(map(in_literal, values))
    return f"Microsoft.Dynamics.CRM.In(PropertyName={literal(column)},PropertyValues=[{listed}])"


def in_literal(value: str) -> str:
    """Write one value for ``is_in``: a JSON string (Dataverse docs, Manage single quotes)."""
    # Readers of OData look for the list's end before they read it as JSON: some take a single quote or a bracket in a
    # value for one of their own, double quotes or not. As an escape it is a plain character to all of them.
    return '"' + _MEANS_SOMETHING.sub(lambda found: f"\\u{ord(found[0]):04x}", value) + '"'


def row_path(entity_set: str, row_id: object) -> str:
    """Name one row: ``contacts(00000000-…)``."""
    return f"{entity_set}({guid(row_id, f'the id in {entity_set}')})"


def query(
    path: str,
    *,
    select: Iterable[str] = (),
    where: str = "",
    orderby: str = "",
    top: int | None = None,
    expand: str = "",
) -> str:
    """Add query options to a path, percent-encoded.

    :param path: an entity set or a row
    :param select: the columns
    :param where: ``$filter``; values in it by ``literal``
    :param orderby: ``$orderby``
    :param top: ``$top``; don't combine it with pages (Dataverse docs, Page results)
    :param expand: ``$expand``
    """
    options = {
        "$select": ",".join(select),
        "$filter": where,
        "$orderby": orderby,
        "$top": "" if top is None else str(top),
        "$expand": expand,
    }
    text = "&".join(f"{name}={encoded(value)}" for name, value in options.items() if value)
    return f"{path}?{text}" if text else path


def encoded(text: str) -> str:
    """Write text as a part of a query option: character by character, so that lengths add up."""
    # "$", "," and the like stay readable; "+", "&", "#" and spaces must not stay.
    try:
        return quote(text, safe=_READABLE)
    except UnicodeEncodeError:  # half a character, as JSON can hold one
        raise CijInputError("A text in the query is broken: it can't be sent.", hint="Is its encoding right?") from None


def same_origin(url: str, base_url: str) -> bool:
    """Tell whether a URL is of the organisation itself: the token may go nowhere else."""

    def origin(text: str) -> tuple[str, str | None, int | None]:
        parts = urlsplit(text)
        return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)

    try:
        # Parsers disagree on who is the host in "https://good\\@bad" and "https://good@bad": no honest link has them.
        return "\\" not in url and "@" not in urlsplit(url).netloc and origin(url) == origin(base_url)
    except ValueError:  # a port that is no number, half a bracket
        return False
