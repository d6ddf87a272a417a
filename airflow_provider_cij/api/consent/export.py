"""Read the consent that changed since a moment, each change once over several reads.

Source: table reference of msdynmkt_contactpointconsent4. Change tracking is not confirmed for the table, so rows are
read by ``modifiedon``. That is set before a change can be seen by others, so each read begins somewhat before the last
one ended, and leaves out what the last one had: no change is missed, also among those of the same second. Of very many
changes in that time some are read twice.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.consent import columns
from airflow_provider_cij.api.consent.consent_to import Channel, ConsentTo
from airflow_provider_cij.api.consent.marker import is_ours, plain_reason, said_at
from airflow_provider_cij.api.consent.reading import consent_row
from airflow_provider_cij.api.consent.rules import ConsentValue
from airflow_provider_cij.api.consent.target import resolve
from airflow_provider_cij.api.timestamps import format_utc, parse_utc
from airflow_provider_cij.dataverse.odata import query

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

COLUMNS = ("address", "channel", "value", "purpose_id", "topic_id", "given_at", "source", "reason")
"""The columns of an export. ``CijImportConsentOperator`` reads address, value and given_at."""
_SELECT = (
    *(columns.ID, columns.POINT, columns.POINT_TYPE, columns.KIND, columns.VALUE, columns.SOURCE, columns.REASON),
    *(columns.PURPOSE, columns.TOPIC, columns.UNIT, columns.MODIFIED_ON),
)
_FIRST = 534120000
_SOURCES = (
    *("internal", "preference_page", "text_message", "loaded", "preference_center", "form", "subscription_center"),
    "list_unsubscribe",
)
_OVERLAP = timedelta(seconds=60)


@dataclass(frozen=True)
class Cursor:
    """Where the next read begins.

    :param start: the ``modifiedon`` to begin with; None, with the first change of all
    :param seen: changes from there on that were read already; default none
    """

    start: datetime | None
    seen: frozenset[str] = field(default_factory=frozenset)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {"start": None if self.start is None else format_utc(self.start), "seen": sorted(self.seen)}

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Cursor:
        """Restore a cursor from what ``as_dict`` returned.

        :param plain: the cursor as plain JSON
        """
        start = plain.get("start")
        return Cursor(None if start is None else parse_utc("start", start), frozenset(plain.get("seen", ())))


class ConsentExport:
    """One read of what changed.

    :param client: an open client
    :param cursor: where it begins
    :param include_own: True also reads what this package wrote; default False, so that two systems do not echo each
        other
    :param remembered: changes that a cursor remembers, at most; default 3,000, because Airflow's stores are meant for
        values of up to 64 KB
    """

    def __init__(
        self, client: DataverseClient, cursor: Cursor, *, include_own: bool = False, remembered: int = 3000
    ) -> None:
        self._client = client
        self._cursor = cursor
        self._include_own = include_own
        self._remembered = remembered
        self._read: dict[str, datetime] = {}
        self._ours: set[str] = set()
        self._latest = cursor.start
        self.count = self.own = 0

    async def rows(
        self, to: ConsentTo | None = None, value: ConsentValue | None = None
    ) -> AsyncIterator[list[tuple[object, ...]]]:
        """Yield the changes in pages, oldest first, in the columns of ``COLUMNS``.

        :param to: the purpose, or the topic, and the channel; default None, all
        :param value: only this consent; default None, all
        :raises CijInputError: there is no such purpose or topic
        """
        path = query(
            columns.CONSENTS, select=_SELECT, where=await self._where(to, value), orderby=f"modifiedon,{columns.ID}"
        )
        async for page in self._client.pages(path):
            found = [shown for row in page if (shown := self._shown(row))]
            self.count += len(found)
            yield found

    async def _where(self, to: ConsentTo | None, value: ConsentValue | None) -> str:
        conditions = []
        if self._cursor.start is not None:
            conditions.append(f"modifiedon ge {format_utc(self._cursor.start)}")
        if value is not None:
            conditions.append(f"{columns.VALUE} eq {int(value)}")
        if to is not None:
            conditions.append((await resolve(self._client, to)).where(alone=True))
        return " and ".join(conditions)

    def _shown(self, plain: Mapping[str, Any]) -> tuple[object, ...] | None:
        """Return a row as it is exported; None for one that was read before, or is our own."""
        row = consent_row(dict(plain))
        change = _digest(row.row_id, row.etag)
        if change in self._read:  # it moved to a later page while the pages were read
            return None
        self._read[change] = row.modified_on
        self._latest = max(self._latest or row.modified_on, row.modified_on)
        own = not self._include_own and is_ours(row)
        if own:
            self._ours.add(change)
        if change in self._cursor.seen:
            return None
        if own:
            self.own += 1
            return None
        return (
            plain.get(columns.POINT),
            _name(plain.get(columns.POINT_TYPE), Channel),
            _name(row.value, ConsentValue),
            plain.get(columns.PURPOSE),
            row.topic_id or None,
            said_at(row).isoformat(),
            _source(row.source),
            plain_reason(row.reason),
        )

    def cursor(self) -> Cursor:
        """Return where the next read begins, once this one has come to its end.

        It begins as early for any number of changes. Those that are too many to remember are read again, and the log
        has a warning.
        """
        if self._latest is None:
            return self._cursor
        start = self._latest - _OVERLAP
        if self._cursor.start is not None:
            start = max(start, self._cursor.start)
        changes = [change for change, moment in self._read.items() if moment >= start]
        changes.sort(key=self._ours.__contains__)  # our own would be left out anyway
        if again := sum(change not in self._ours for change in changes[self._remembered :]):
            log.warning("The next export may write %s of these changes again: too many at once", f"{again:,}")
        return Cursor(start, frozenset(changes[: self._remembered]))


def _digest(row_id: str, etag: str) -> str:
    return b64encode(blake2b(f"{row_id} {etag}".encode(), digest_size=9).digest()).decode()


def _name(number: object, names: Iterable[Any]) -> str:
    return next((known.name.lower() for known in names if known == number), str(number))


def _source(number: int | None) -> str:
    place = -1 if number is None else number - _FIRST
    return _SOURCES[place] if 0 <= place < len(_SOURCES) else str(number or "")
