"""Find the rows that an organisation has already, by the keys of a list, and the rows that lookups refer to.

Source: Dataverse docs, "In function", "Filter rows". Keys that differ in case only are equal, as in ``members.match``.
The service may compare more widely (accents): a row that is equal to a key only to the service is never written, and a
key that the service takes for that of such a row is ``clashing``, because writing by it would change that row.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.members.match import normalize
from airflow_provider_cij.api.records.plan import HALF, Column, Plan, PlannedRow
from airflow_provider_cij.api.records.values import UnfitError, read_guid, text_of
from airflow_provider_cij.dataverse.odata import URL_LIMIT, in_filter, in_literal, query, quote_option
from airflow_provider_cij.dataverse.values import trimmed
from airflow_provider_cij.errors import CijError, CijRefusedError, CijServerError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

# The rest of the URL is for the columns and for the cookie of a further page.
_ROOM_FOR_COOKIE = 1024
_MOST_IN = 2000
# The literal of a plain key: its two quotes become six characters.
_PLAIN = re.compile(r'"[\w .-]*",', re.ASCII)
# A condition of several columns each: far below the service's limit of 500 conditions.
_MOST_OR = 50
_LOOKUPS_KEPT = 50_000


@dataclass
class Found:
    """The rows that have the keys of a list.

    :param rows: rows by the digest of their key
    :param clashing: digests of keys that the service takes for those of other rows
    """

    rows: dict[bytes, list[dict[str, Any]]] = field(default_factory=dict)
    clashing: set[bytes] = field(default_factory=set)


class ExistingRows:
    """Looks rows up by their keys.

    :param client: an open client
    :param plan: the columns and the key
    """

    def __init__(self, client: DataverseClient, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        names = (column.read_name for column in plan.columns)
        self._select = tuple(dict.fromkeys((plan.table.id_column, *names, "createdon")))
        self._room = URL_LIMIT - _ROOM_FOR_COOKIE - len(client.settings.api_url + self._path(""))

    async def find(self, rows: Sequence[PlannedRow]) -> Found:
        """Return the rows that have some keys, the oldest first where several have one.

        :param rows: rows of the list
        :raises CijError: the service refuses, or does not answer; the error holds no value
        """
        found = Found()

        async def work(batch: list[PlannedRow]) -> None:
            await self._query(batch, found)

        await for_each(self._batches(rows), work, self._client.recommended_concurrency)
        for several in found.rows.values():
            several.sort(key=lambda row: (str(row.get("createdon") or ""), str(row.get(self._plan.table.id_column))))
        return found

    async def with_ids(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows that have some ids.

        :param ids: the ids
        :raises CijError: the service refuses, or does not answer; the error holds no value
        """
        found: list[dict[str, Any]] = []

        async def work(batch: list[str]) -> None:
            path = self._path(in_filter(self._plan.table.id_column, batch))
            async for page in _private_pages(self._client, path, self._plan.table.entity_set):
                found.extend(page)

        await for_each(_fitting(ids), work, self._client.recommended_concurrency)
        return found

    async def _query(self, batch: list[PlannedRow], found: Found) -> None:
        wanted = {row.key for row in batch}
        met: set[bytes] = set()
        inexact: set[bytes] = set()
        async for page in _private_pages(self._client, self._path(self._filter(batch)), self._plan.table.entity_set):
            for there in page:
                key = [there.get(column.read_name) for column in self._plan.key_columns]
                digest = self._plan.digest_of(key)
                if digest in wanted:
                    met.add(digest)
                    found.rows.setdefault(digest, []).append(there)
                else:
                    inexact.add(digest[:HALF])
        found.clashing.update(row.key for row in batch if row.key not in met and row.key[:HALF] in inexact)

    def _batches(self, rows: Sequence[PlannedRow]) -> Iterator[list[PlannedRow]]:
        """Yield rows whose keys fit into one query."""
        most = _MOST_IN if len(self._plan.key_columns) == 1 else _MOST_OR
        batch: list[PlannedRow] = []
        room = self._room
        for row in rows:
            condition = self._condition(row)
            # Percent-encoded, a character of another kind may be three times as long; most need no look.
            length = len(condition) + 10 if _PLAIN.fullmatch(condition) else len(quote_option(condition)) + 10
            if batch and (length > room or len(batch) == most):
                yield batch
                batch, room = [], self._room
            batch.append(row)
            room -= length
        if batch:
            yield batch

    def _condition(self, row: PlannedRow) -> str:
        key = self._plan.key_of(row)
        if len(key) == 1:
            return f"{in_literal(str(key[0]))},"
        pairs = zip(self._plan.key_columns, key, strict=True)
        return "(" + " and ".join(f"{column.read_name} eq {column.key_literal(value)}" for column, value in pairs) + ")"

    def _filter(self, batch: Sequence[PlannedRow]) -> str:
        if len(self._plan.key_columns) == 1:
            values = (str(self._plan.key_of(row)[0]) for row in batch)
            return in_filter(self._plan.key_columns[0].read_name, values)
        return " or ".join(map(self._condition, batch))

    def _path(self, where: str) -> str:
        return query(self._plan.table.entity_set, select=self._select, where=where)


class LookupIds:
    """Finds the ids of the rows that a lookup refers to, and remembers the last 50,000.

    :param client: an open client
    :param column: the lookup
    """

    def __init__(self, client: DataverseClient, column: Column) -> None:
        assert column.reference  # noqa: S101  # a lookup
        assert column.lookup  # noqa: S101
        assert column.lookup.key  # noqa: S101
        self._client = client
        self._target = column.reference.target
        self._key = column.lookup.key
        self._known: dict[str, list[str]] = {}

    async def ids(self, values: Sequence[object]) -> list[list[str]]:
        """Return the ids of the rows that have each of some values: one, none, or several.

        :param values: values of the column that tells the rows apart
        :raises CijError: the service refuses, or does not answer; the error holds no value
        """
        keys = [normalize(trimmed(text_of(value))) for value in values]
        if len(self._known) > _LOOKUPS_KEPT:
            self._known.clear()
        unknown = list(dict.fromkeys(key for key in keys if key not in self._known))
        self._known.update({key: [] for key in unknown})
        await for_each(_fitting(unknown), self._query, self._client.recommended_concurrency)
        return [self._known[key] for key in keys]

    async def _query(self, batch: list[str]) -> None:
        select = tuple(dict.fromkeys((self._target.id_column, self._key)))
        path = query(self._target.entity_set, select=select, where=in_filter(self._key, batch))
        async for page in _private_pages(self._client, path, self._target.entity_set):
            for row in page:
                found = self._known.get(normalize(trimmed(text_of(row.get(self._key)))))
                if found is not None:
                    found.append(_id(row.get(self._target.id_column)))


def _id(value: object) -> str:
    try:
        return read_guid(value)
    except UnfitError:
        raise CijError("The service answered with a row without its id.") from None


def _fitting(values: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    room = URL_LIMIT - 4 * _ROOM_FOR_COOKIE
    for value in values:
        length = len(quote_option(f"{in_literal(value)},"))
        if batch and (length > room or len(batch) == _MOST_IN):
            yield batch
            batch, room = [], URL_LIMIT - 4 * _ROOM_FOR_COOKIE
        batch.append(value)
        room -= length
    if batch:
        yield batch


async def _private_pages(client: DataverseClient, path: str, entity_set: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield pages of rows. An error does not repeat the service's words, which may hold what was asked for."""
    failure: CijError | None = None
    try:
        async for page in client.pages(path):
            yield page
    except (CijRefusedError, CijServerError) as error:
        failure = error
    if failure:  # out of the handler: the service's words must not come along as its context
        raise withheld(failure, f"GET {entity_set}")


def withheld(error: CijError, what: str) -> CijError:
    """Return an error without the service's words, which may repeat values of rows.

    :param error: the service's error
    :param what: the request
    """
    if error.http_status is None or error.http_status in (403, 429):
        return error  # our own words, or the name of a privilege
    message = f"{what} failed. The service's words are withheld: they may repeat values of the rows."
    return CijError.from_dict(error.as_dict() | {"message": message})
