"""OData as Dataverse speaks it: quoting, paths and query options. Pure functions over plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, urlsplit

from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.errors import CijInputError

URL_LIMIT = 32_768
"""Characters of a whole URL at most (Dataverse docs, Query data). The service refuses a longer one."""

_READABLE = "$,()='/:;"
_SPECIAL = re.compile(r"""[\x00-\x1f"'\\\[\]]""")
# Characters that are percent-encoded, but for spaces.
_ENCODED = re.compile(rf"[^\w.~ {_READABLE}-]", re.ASCII)


def literal(value: str | int | float | bool | None) -> str:
    """Return a value as ``$filter`` takes it. A quote inside a string is doubled (Dataverse docs, Filter rows).

    :param value: a string, a number, a boolean, or None for ``null``
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def in_filter(column: str, values: Iterable[str]) -> str:
    """Return the ``$filter`` for rows whose column has one of some values (Dataverse docs, In function).

    :param column: the column's logical name
    :param values: at least one value; strings whatever the column's type is
    """
    return in_list(column, map(in_literal, values))


def in_list(column: str, literals: Iterable[str]) -> str:
    """Return ``in_filter`` of values that are written by ``in_literal`` already.

    :param column: the column's logical name
    :param literals: at least one value
    """
    return f"Microsoft.Dynamics.CRM.In(PropertyName={literal(column)},PropertyValues=[{','.join(literals)}])"


def in_literal(value: str) -> str:
    """Return one value of ``in_filter`` as a JSON string (Dataverse docs, Manage single quotes).

    :param value: the value, unquoted
    """
    # Parsers of OData look for the list's end before they read it as JSON: some take a single quote or a bracket
    # inside a value for one of the syntax, double quotes or not. Escaped, it is a plain character to all of them.
    return f'"{_SPECIAL.sub(_escaped, value)}"'


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def row_path(entity_set: str, row_id: object) -> str:
    """Return the path of one row, such as ``contacts(00000000-…)``.

    :param entity_set: such as ``contacts``
    :param row_id: the row's id, in any spelling
    :raises CijInputError: the id is no GUID
    """
    return f"{entity_set}({normalize_guid(row_id, f'the id in {entity_set}')})"


def query(
    path: str,
    *,
    select: Iterable[str] = (),
    where: str = "",
    orderby: str = "",
    top: int | None = None,
    expand: str = "",
) -> str:
    """Return a path with query options, percent-encoded.

    :param path: an entity set or a row
    :param select: ``$select``, the columns to return; by default all
    :param where: ``$filter``, its values written by ``literal``; by default none
    :param orderby: ``$orderby``; by default none
    :param top: ``$top``, the number of rows at most; by default no limit. Don't combine it with pages (Dataverse
        docs, Page results)
    :param expand: ``$expand``; by default none
    :raises CijInputError: a text can't be encoded
    """
    options = {
        "$select": ",".join(select),
        "$filter": where,
        "$orderby": orderby,
        "$top": "" if top is None else str(top),
        "$expand": expand,
    }
    text = "&".join(f"{name}={quote_option(value)}" for name, value in options.items() if value)
    return f"{path}?{text}" if text else path


def quote_option(text: str) -> str:
    """Return text percent-encoded for a query option. Each character is encoded alone, so lengths add up.

    :param text: a query option's value, or a part of it
    :raises CijInputError: the text can't be encoded
    """
    # "$", "," and the like stay readable; "+", "&", "#" and spaces must be encoded.
    try:
        # quote() alone would take 3 ms of an event loop for a query of hundreds of ids, whose spaces alone are encoded.
        return _ENCODED.sub(lambda found: _percent_encoded(found[0]), text).replace(" ", "%20")
    except UnicodeEncodeError:  # half a character, as JSON can hold one
        raise CijInputError("A text in the query is broken: it can't be sent.", hint="Is its encoding right?") from None


@lru_cache(128)
def _percent_encoded(character: str) -> str:
    return quote(character, safe="")


def encoded_length(text: str) -> int:
    """Return the number of characters that a text has in a query option.

    :param text: a query option's value, or a part of it
    :raises CijInputError: the text can't be encoded
    """
    if text.isascii():
        return len(text) + 2 * (len(_ENCODED.findall(text)) + text.count(" "))
    return len(quote_option(text))


def fitting(texts: Iterable[str], room: int, most: int, joint: str = ",") -> Iterator[list[str]]:
    """Yield texts in lists of which each fits into a query option.

    :param texts: such as literals of ``in_filter``; one that is too long by itself is in a list of its own
    :param room: characters that a list may have, percent-encoded
    :param most: texts that a list may have
    :param joint: what stands between two texts, not percent-encoded; by default a comma
    :raises CijInputError: a text can't be encoded
    """
    part: list[str] = []
    between, left = encoded_length(joint), room
    for text in texts:
        length = encoded_length(text) + between
        if part and (length > left or len(part) == most):
            yield part
            part, left = [], room
        part.append(text)
        left -= length
    if part:
        yield part


def in_filters(column: str, values: Iterable[str], room: int = URL_LIMIT - 2560, most: int = 2000) -> Iterator[str]:
    """Yield filters that together find the rows whose column has one of some values, each as long as a URL may be.

    :param column: the column's logical name
    :param values: the values, unquoted
    :param room: characters that a filter's values may have, percent-encoded; the default leaves 2,560 for all else and
        for the cookie of a further page
    :param most: values that a filter may have; default 2000
    :raises CijInputError: a text can't be encoded
    """
    for part in fitting(map(in_literal, values), room, most):
        yield in_list(column, part)


def same_origin(url: str, base_url: str) -> bool:
    """Return whether a URL has the scheme, host and port of another: the token may go nowhere else.

    :param url: the URL to check, such as a link in a response
    :param base_url: the organisation's address, or the login service's
    """

    def origin(text: str) -> tuple[str, str | None, int | None]:
        parts = urlsplit(text)
        return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)

    # Parsers disagree on what the host is in "https://good\\@bad" and "https://good@bad": no honest link has them.
    if "\\" in url:
        return False
    if url.startswith(f"{base_url}/") and "@" not in base_url:  # nearly always
        return True
    try:
        return "@" not in urlsplit(url).netloc and origin(url) == origin(base_url)
    except ValueError:  # a port that is no number, half a bracket
        return False
