"""Read the existing rows that have the keys of a list, and the rows that lookups refer to.

Source: Dataverse docs, "In function", "Filter rows". Keys that differ in case only are equal, as in ``members.match``.
The service ignores accents as well. A row whose key is equal to the service only is never written. A key of the list
that the service considers equal to such a row's is ``clashing``, because writing by it would change that row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.members.match import normalize
from airflow_provider_cij.api.records.plan import HALF, Column, Plan, PlannedRow
from airflow_provider_cij.api.records.values import UnfitError, read_guid, text_of
from airflow_provider_cij.dataverse.odata import URL_LIMIT, fitting, in_filters, in_list, in_literal, query
from airflow_provider_cij.dataverse.values import trimmed
from airflow_provider_cij.errors import CijError, CijRefusedError, CijServerError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

# The rest of the URL is for the columns and for the cookie of a further page.
_ROOM_FOR_COOKIE = 1024
_MOST_IN = 2000
# Each is a condition on several columns; the service allows 500 conditions.
_MOST_OR = 50
_LOOKUPS_KEPT = 50_000


@dataclass
class Found:
    """The existing rows with the keys of a list.

    :param rows: rows by the digest of their key; default none
    :param clashing: digests of keys that the service considers equal to those of other rows; default none
    """

    rows: dict[bytes, list[dict[str, Any]]] = field(default_factory=dict)
    clashing: set[bytes] = field(default_factory=set)


class ExistingRows:
    """Looks up rows by their keys.

    :param client: an open client
    :param plan: the columns and the key
    """

    def __init__(self, client: DataverseClient, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        names = (column.read_name for column in plan.columns)
        self._select = tuple(dict.fromkeys((plan.table.id_column, *names, "createdon")))
        self._room = URL_LIMIT - _ROOM_FOR_COOKIE - len(client.settings.api_url + self._path(""))

    async def find(self, rows: Iterable[PlannedRow]) -> Found:
        """Return the existing rows with the keys of some rows, the oldest first where several have the same key.

        :param rows: rows of the list; consumed query by query
        :raises CijError: the service refuses, or does not answer; the error holds no value
        """
        found = Found()

        async def work(batch: tuple[list[bytes], str]) -> None:
            await self._query(*batch, found)

        await for_each(self._batches(rows), work, self._client.recommended_concurrency)
        for several in found.rows.values():
            several.sort(key=lambda row: (str(row.get("createdon") or ""), str(row.get(self._plan.table.id_column))))
        return found

    async def with_ids(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the existing rows with some ids.

        :param ids: the ids
        :raises CijError: the service refuses, or does not answer; the error holds no value
        """
        found: list[dict[str, Any]] = []

        async def work(where: str) -> None:
            async for page in _private_pages(self._client, self._path(where), self._plan.table.entity_set):
                found.extend(page)

        filters = in_filters(self._plan.table.id_column, ids, self._room)
        await for_each(filters, work, self._client.recommended_concurrency)
        return found

    async def _query(self, keys: list[bytes], where: str, found: Found) -> None:
        wanted = set(keys)
        met: set[bytes] = set()
        inexact: set[bytes] = set()
        async for page in _private_pages(self._client, self._path(where), self._plan.table.entity_set):
            for there in page:
                key = [there.get(column.read_name) for column in self._plan.key_columns]
                digest = self._plan.digest_of(key)
                if digest in wanted:
                    met.add(digest)
                    found.rows.setdefault(digest, []).append(there)
                else:
                    inexact.add(digest[:HALF])
        if inexact:
            found.clashing.update(key for key in wanted - met if key[:HALF] in inexact)

    def _batches(self, rows: Iterable[PlannedRow]) -> Iterator[tuple[list[bytes], str]]:
        """Yield batches of keys that fit into one query: their digests, and the filter."""
        columns, keys = self._plan.key_columns, list[bytes]()
        most, joint = (_MOST_IN, ",") if len(columns) == 1 else (_MOST_OR, " or ")

        def conditions() -> Iterator[str]:
            for row in rows:
                keys.append(row.key)
                yield self._condition(row)

        for part in fitting(conditions(), self._room, most, joint):
            where = in_list(columns[0].read_name, part) if len(columns) == 1 else joint.join(part)
            yield keys[: len(part)], where
            del keys[: len(part)]

    def _condition(self, row: PlannedRow) -> str:
        if len(self._plan.key_positions) == 1:
            return in_literal(str(row.values[self._plan.key_positions[0]]))
        pairs = zip(self._plan.key_columns, self._plan.key_of(row), strict=True)
        return "(" + " and ".join(f"{column.read_name} eq {column.key_literal(value)}" for column, value in pairs) + ")"

    def _path(self, where: str) -> str:
        return query(self._plan.table.entity_set, select=self._select, where=where)


class LookupIds:
    """Looks up the ids of the rows that a lookup refers to, and caches up to 50,000.

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

        :param values: values of the lookup's key column
        :raises CijError: the service refuses, or does not answer; the error holds no value
        """
        keys = [normalize(trimmed(text_of(value))) for value in values]
        if len(self._known) > _LOOKUPS_KEPT:
            self._known.clear()
        unknown = list(dict.fromkeys(key for key in keys if key not in self._known))
        self._known.update({key: [] for key in unknown})
        filters = in_filters(self._key, unknown)
        await for_each(filters, self._query, self._client.recommended_concurrency)
        return [self._known[key] for key in keys]

    async def _query(self, where: str) -> None:
        select = dict.fromkeys((self._target.id_column, self._key))
        path = query(self._target.entity_set, select=select, where=where)
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


async def _private_pages(client: DataverseClient, path: str, entity_set: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield pages of rows. An error does not contain the service's message, which may repeat values of the filter."""
    failure: CijError | None = None
    try:
        async for page in client.pages(path):
            yield page
    except (CijRefusedError, CijServerError) as error:
        failure = error
    if failure:  # raised outside the handler, so that the service's message is not attached as its context
        raise withheld(failure, f"GET {entity_set}")


def withheld(error: CijError, what: str) -> CijError:
    """Return an error without the service's message, which may repeat values of rows.

    :param error: the service's error
    :param what: the request
    """
    if error.http_status is None or error.http_status in (403, 429):
        return error  # our own message, or the name of a privilege
    message = f"{what} failed. The service's words are withheld: they may repeat values of the rows."
    return CijError.from_dict(error.as_dict() | {"message": message})
