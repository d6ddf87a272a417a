"""OData as Dataverse speaks it: quoting, query options. Pure functions over plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.errors import CijInputError

URL_LIMIT = 32_768
"""Characters of a whole URL (Dataverse docs, Query data); what goes beyond is refused."""

_READABLE = "$,()='/:;"
_MEANS_SOMETHING = re.compile(r"""[\x00-\x1f"'\\\[\]]""")


def literal(value: str | int | float | bool | None) -> str:
    """Write a value for ``$filter``. A quote inside a string is doubled (Dataverse docs, Filter rows)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def in_filter(column: str, values: Iterable[str]) -> str:
    """Ask in ``$filter`` for rows whose column has one of some values (Dataverse docs, In function).

    :param column: its logical name
    :param values: at least one; strings whatever the column holds
    """
    listed = ",".join(map(in_literal, values))
    return f"Microsoft.Dynamics.CRM.In(PropertyName={literal(column)},PropertyValues=[{listed}])"


def in_literal(value: str) -> str:
    """Write one value for ``in_filter``: a JSON string (Dataverse docs, Manage single quotes)."""
    # Readers of OData look for the list's end before they read it as JSON: some take a single quote or a bracket in a
    # value for one of their own, double quotes or not. As an escape it is a plain character to all of them.
    return '"' + _MEANS_SOMETHING.sub(lambda found: f"\\u{ord(found[0]):04x}", value) + '"'


def row_path(entity_set: str, row_id: object) -> str:
    """Name one row: ``contacts(00000000-…)``."""
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
    text = "&".join(f"{name}={quote_option(value)}" for name, value in options.items() if value)
    return f"{path}?{text}" if text else path


def quote_option(text: str) -> str:
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
