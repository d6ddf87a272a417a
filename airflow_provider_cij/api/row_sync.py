"""Rows that a task creates or updates: read, compared, and written only where they differ."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_cij.dataverse.odata import in_filter, query, row_path
from airflow_provider_cij.errors import CijConflictError, CijNotFoundError, CijRefusedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

_OWNER = "owningbusinessunit@odata.bind"
_BIND = "@odata.bind"

Changes = Mapping[str, Mapping[str, Any]]
"""What was written to a row: by argument, ``{"old": …, "new": …}``; counts where the value holds people, and of groups
``{name: "include" or "exclude"}``."""


def _same(ours: Any, theirs: Any) -> bool:
    return bool(ours == ("" if theirs is None and isinstance(ours, str) else theirs))


def _unchanged(value: Any) -> Any:
    return value


class Column(NamedTuple):
    """How a column is compared and shown.

    :param argument: the name that users know it by; default its own name without prefix
    :param same: compares our value with the one that the service returns, which may be spelt in another way
    :param shown: turns a value into what ``changes`` shows
    """

    argument: str = ""
    same: Callable[[Any, Any], bool] = _same
    shown: Callable[[Any], Any] = _unchanged


class Table(NamedTuple):
    """A table that rows are written to.

    :param entity_set: its name in URLs
    :param id_column: the primary key
    :param initial_values: what only a new row is given, such as its status
    :param columns: the columns that are compared or shown in their own way
    """

    entity_set: str
    id_column: str
    initial_values: Mapping[str, Any]
    columns: Mapping[str, Column] = MappingProxyType({})

    def column(self, name: str) -> Column:
        """Return how a column is compared and shown.

        :param name: as it is written
        """
        if name == _OWNER:
            return Column("business_unit_id", _same_binding, _bound_id)
        if name.endswith(_BIND):
            return Column(_plain_name(name.removesuffix(_BIND)), _same_binding, _bound_id)
        known = self.columns.get(name, Column())
        return known if known.argument else Column(_plain_name(name), known.same, known.shown)


def _plain_name(column: str) -> str:
    return column.removeprefix("msdynmkt_").removeprefix("msdyncrm_")


def _same_binding(ours: Any, theirs: Any) -> bool:
    return str(ours).endswith(f"({str(theirs).lower()})")


def _bound_id(value: Any) -> Any:
    return value.split("(")[-1].rstrip(")") if isinstance(value, str) else value


def read_name(column: str) -> str:
    """Return the name by which a column is read: a lookup is written by another one.

    :param column: as it is written
    """
    return f"_{column.removesuffix(_BIND).lower()}_value" if column.endswith(_BIND) else column


async def rows_by_id(
    client: DataverseClient, entity_set: str, id_column: str, columns: Sequence[str], row_ids: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """Read many rows with one request.

    :param client: open
    :param entity_set: such as ``msdynmkt_segments``
    :param id_column: the primary key
    :param columns: the columns to read, the primary key among them
    :param row_ids: some hundreds at the most
    :return: those that exist, by id in lower case
    :raises CijError: the service refuses, or is not there
    """
    rows = await client.all_rows(query(entity_set, select=columns, where=in_filter(id_column, row_ids)))
    return {str(row.get(id_column)).lower(): row for row in rows}


async def read_columns(
    client: DataverseClient, table: Table, row_id: str, columns: Iterable[str]
) -> dict[str, Any] | None:
    """Read the columns that are about to be written; None when there is no such row.

    :param client: open
    :param table: the row's
    :param row_id: its id
    :param columns: by the names they are written by
    """
    names = [read_name(name) for name in columns]
    try:
        return await client.get(query(row_path(table.entity_set, row_id), select=names))
    except CijNotFoundError:
        return None


async def create_or_update(
    client: DataverseClient, table: Table, row_id: str, row: Mapping[str, Any], there: Mapping[str, Any] | None
) -> tuple[bool, Changes]:
    """Create a row, or write what differs in one that is there.

    :param client: open
    :param table: the row's
    :param row_id: its id
    :param row: the columns as wanted
    :param there: the row as read, with at least these columns; None when there is none
    :return: whether it was created, and what was changed in it
    :raises CijConflictError: another client changes it at the same time
    """
    if there is None:
        try:
            new = {table.id_column: row_id, **row, **table.initial_values}
            await client.post(table.entity_set, new, repeatable=True)
        except CijConflictError:
            # It was created since we looked: by a request whose response was lost, or by a second run of the DAG.
            there = await read_columns(client, table, row_id, row)
            if there is None:
                raise
        except CijRefusedError as error:
            raise _explained(error, row) from None
        else:
            return True, {}
    differing = {
        name: value for name, value in row.items() if not table.column(name).same(value, there.get(read_name(name)))
    }
    if not differing:
        return False, {}
    log.info("%s differs in %s", row_path(table.entity_set, row_id), ", ".join(differing))
    try:
        await _update(client, table, row_id, differing, there, list(row))
    except CijRefusedError as error:
        raise _explained(error, differing) from None
    changes = {}
    for name, value in differing.items():
        column = table.column(name)
        changes[column.argument] = {"old": column.shown(there.get(read_name(name))), "new": column.shown(value)}
    return False, changes


async def _update(
    client: DataverseClient,
    table: Table,
    row_id: str,
    row: Mapping[str, Any],
    there: Mapping[str, Any],
    compared: Sequence[str],
) -> None:
    path = row_path(table.entity_set, row_id)
    for last in (False, False, True):
        try:
            await client.patch(path, row, if_match=str(there.get("@odata.etag") or "*"))
            return
        except CijConflictError:
            # The service writes to the row as well, with each evaluation. If what we saw of it is unchanged, go on.
            now = await read_columns(client, table, row_id, compared)
            names = [read_name(name) for name in compared]
            if last or now is None or any(now.get(name) != there.get(name) for name in names):
                raise
            there = now


async def delete_row(client: DataverseClient, path: str) -> bool:
    """Delete a row. A conflict (412) is another change or delete of the same row: the delete is sent again.

    :param client: open
    :param path: of the row
    :return: False when there is none
    :raises CijConflictError: the third try meets a conflict, too
    """
    left = 3
    while True:
        try:
            await client.delete(path)
        except CijNotFoundError:
            return False
        except CijConflictError:
            left -= 1
            if not left:
                raise
        else:
            return True


def _explained(error: CijRefusedError, row: Mapping[str, Any]) -> CijRefusedError:
    if _OWNER in row and error.http_status in (400, 403):
        error.hint = (
            f"{error.hint} The row names a business unit as its owner: that is writable only where modernised business "
            "units are switched on, and only for users who may assign it."
        ).strip()
    return error
