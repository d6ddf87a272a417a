"""What changed in a table since the last look: one question for all rows of an organisation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.dataverse.odata import query

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

OVERLAP = timedelta(seconds=60)
"""How far each question reaches back: a row may appear later than one that was modified after it."""


class ChangedRows:
    """Reads the rows of a table that were modified since the last read, and those of the minute before.

    Only times that the service wrote are compared, so that no two clocks have to agree.

    :param entity_set: the table, such as ``msdynmkt_segments``
    :param columns: the columns to read besides ``modifiedon``
    """

    def __init__(self, entity_set: str, columns: Sequence[str]) -> None:
        self._entity_set = entity_set
        self._columns = tuple(dict.fromkeys((*columns, "modifiedon")))
        self.newest = ""
        """When the newest row that was read was modified, as the service writes it; ``""`` before there is one."""

    async def read(self, client: DataverseClient) -> list[dict[str, Any]]:
        """Read what changed.

        :param client: open
        :return: the rows, the first to be modified first; a row may be returned by several reads
        :raises CijError: the table can't be read; the next read returns what this one would have
        """
        where = ""
        if not self.newest:
            newest = query(self._entity_set, select=("modifiedon",), orderby="modifiedon desc", top=1)
            rows = await client.rows(newest)
            self.newest = rows[0]["modifiedon"] if rows else ""
        if self.newest:
            where = f"modifiedon ge {before(self.newest, OVERLAP)}"
        found = await client.all_rows(query(self._entity_set, select=self._columns, where=where))
        found.sort(key=lambda row: str(row["modifiedon"]))
        if found:
            self.newest = max(self.newest, found[-1]["modifiedon"])
        return found


def before(moment: str, by: timedelta) -> str:
    """Return an earlier moment, as the service writes them (ISO 8601, UTC).

    :param moment: as the service wrote it
    :param by: how much earlier
    """
    return (datetime.fromisoformat(moment) - by).strftime("%Y-%m-%dT%H:%M:%SZ")
