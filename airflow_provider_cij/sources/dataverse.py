"""Members from a table of the organisation itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources.base import PlainSource, Rows, texts

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.id_list import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient

_SETS = {"contact": "contacts", "lead": "leads"}
_IDS = {"contacts": "contactid", "leads": "leadid"}


class FromDataverse(PlainSource):
    """Members, or whole rows, from a table of the task's own organisation.

    :param table: ``contact``, ``lead``, or the entity set of another table, such as ``msdyncrm_marketinglists``
        (templated)
    :param filter: an OData filter that selects rows, such as ``creditlimit ge 18000 and statecode eq 0``. Default None,
        all rows (templated)
    :param column: the column that holds the ids, such as ``_parentcustomerid_value`` for a lookup. Default None, the
        contact's or the lead's own id (templated)
    """

    template_fields = ("table", "filter", "column")
    plain_key = "table"

    def __init__(self, table: str, filter: str | None = None, *, column: str | None = None) -> None:  # noqa: A002
        self.table = table
        self.filter = filter
        self.column = column

    def __repr__(self) -> str:
        # The filter may name a person.
        return f"FromDataverse({self.table!r}, column={self.column!r})"

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Yield the rows in chunks: their numbers as lines, and the values of the column.

        :param client: the task's open client
        :raises CijInputError: an argument is no text, or which column holds the ids is not clear
        :raises CijError: the service refuses, or does not return the whole list
        """
        entity_set = self._entity_set()
        column = self.column or _IDS.get(entity_set)
        if not column:
            raise CijInputError(f"{self!r}: which column holds the ids is not clear.", hint="Give column.")
        async for lines, rows in self._read(client, entity_set, (column,)):
            yield lines, texts(lines, [row.get(column) for row in rows], f"column {column!r}", repr(self))

    async def rows(self, client: DataverseClient, columns: Sequence[str] | None = None) -> AsyncIterator[Rows]:
        """Yield whole rows in chunks: their numbers as lines, and a dict a row, with the values as JSON has them.

        :param client: the task's open client
        :param columns: the names of the columns to read, such as ``_parentcustomerid_value`` for a lookup. Default
            None, all columns
        :raises CijInputError: an argument is no text
        :raises CijError: the service refuses, also a column that it does not know, or does not return the whole list
        """
        async for lines, rows in self._read(client, self._entity_set(), columns or ()):
            # The service adds the id, and notes such as "@odata.etag".
            names = columns or [name for name in rows[0] if "@" not in name]
            yield lines, [{name: row.get(name) for name in names} for row in rows]

    def _entity_set(self) -> str:
        for name, value in (("table", self.table), ("filter", self.filter or ""), ("column", self.column or "")):
            if not isinstance(value, str):
                raise CijInputError(f"FromDataverse's {name} is a {type(value).__name__}.", hint="Give text.")
        return _SETS.get(self.table, self.table)

    async def _read(self, client: DataverseClient, entity_set: str, columns: Sequence[str]) -> AsyncIterator[Rows]:
        from airflow_provider_cij.dataverse.odata import query

        first = 1
        async for rows in client.pages(query(entity_set, select=columns, where=self.filter or "")):
            yield range(first, first + len(rows)), rows
            first += len(rows)
