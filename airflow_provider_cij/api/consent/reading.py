"""Read the rows of consent of many addresses, as many addresses a request as its URL holds.

Source: Dataverse docs, "In function" and "Page results". Addresses are equal that differ only in case, in white space
around them, or in how an accent is encoded. The service may compare more widely: an opt-in that is equal only to the
service is left out, any other row counts, because a mail against a "no" is worse than none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.consent import columns
from airflow_provider_cij.api.consent.private import private
from airflow_provider_cij.api.consent.rules import ConsentRow, ConsentValue
from airflow_provider_cij.api.consent.target import Target
from airflow_provider_cij.api.members.match import normalize, widest
from airflow_provider_cij.api.timestamps import parse_utc
from airflow_provider_cij.dataverse.odata import in_filters, query
from airflow_provider_cij.dataverse.values import text_of_value, trimmed
from airflow_provider_cij.errors import CijInputError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_NEEDED = (columns.POINT, columns.VALUE, columns.KIND, columns.TOPIC, columns.UNIT, columns.MODIFIED_ON)
_TO_WRITE = (columns.ID, columns.SOURCE, columns.REASON)


def address_key(text: object) -> str:
    """Return the form of an address in which equal addresses are equal texts; ``""`` for none.

    :param text: the address, or None
    """
    return normalize(trimmed(text_of_value(text)))


def spellings(texts: Iterable[object]) -> dict[str, list[str]]:
    """Return the texts to look addresses up by, by their ``address_key``: that, and each text with blanks around it.

    The service's rows may have the blanks and invisible characters that a person's address has. An address with accents
    is asked for in both encodings of them.

    :param texts: the addresses as they are stored; what is none is left out
    """
    found: dict[str, list[str]] = {}
    for address in texts:
        text, key = text_of_value(address), address_key(address)
        if key:
            known = found.setdefault(key, list(dict.fromkeys((key, unicodedata.normalize("NFD", key)))))
            if trimmed(text) != text and text not in known:
                known.append(text)
    return found


async def read_rows(
    client: DataverseClient, addresses: Mapping[str, Iterable[str]], target: Target, *, to_write: bool = False
) -> dict[str, list[ConsentRow]]:
    """Read the rows of addresses, active and inactive ones.

    :param client: an open client
    :param addresses: the addresses as ``spellings`` returns them
    :param target: the purpose or topic; with a topic, its purpose's rows are read as well
    :param to_write: True reads what is needed to change a row, too. Default False
    :return: the rows by address; an address without rows is not in it. Rows of addresses that only the service may take
        for the same are ``near``, and no opt-ins
    :raises CijError: a request failed; the error holds no address
    """
    select = (*_NEEDED, *(_TO_WRITE if to_write else ()))
    found: dict[str, list[ConsentRow]] = {}
    wide: dict[str, list[str]] = {}
    for key in addresses:
        wide.setdefault(widest(key), []).append(key)
    for where in in_filters(columns.POINT, (text for texts in addresses.values() for text in texts)):
        path = query(columns.CONSENTS, select=select, where=f"{where} and {target.where()}")
        for row in await private(f"GET {columns.CONSENTS}", client.all_rows(path)):
            key, read = address_key(row.get(columns.POINT)), consent_row(row)
            for wanted in wide.get(widest(key), ()):
                counts = wanted == key or read.value != ConsentValue.OPTED_IN
                of_key, known = replace(read, near=wanted != key), found.get(wanted, [])
                if counts and of_key not in known:  # two spellings of an address may find the same row
                    found[wanted] = [*known, of_key]
    return found


def consent_row(row: dict[str, Any]) -> ConsentRow:
    """Return a row of consent as the rules take it.

    :param row: the row as the service sends it
    :raises CijReplyError: the row has no time of modification
    """
    try:
        modified_on = parse_utc("modifiedon", row.get(columns.MODIFIED_ON))
    except CijInputError:
        raise CijReplyError(f"GET {columns.CONSENTS} was answered with a row without modifiedon.") from None
    return ConsentRow(
        row.get(columns.VALUE),
        modified_on,
        str(row.get(columns.UNIT) or ""),
        str(row.get(columns.TOPIC) or "").lower() if row.get(columns.KIND) == columns.OF_TOPIC else "",
        str(row.get(columns.ID) or ""),
        str(row.get("@odata.etag") or ""),
        row.get(columns.SOURCE),
        str(row.get(columns.REASON) or ""),
    )
