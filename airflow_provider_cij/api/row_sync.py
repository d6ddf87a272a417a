"""The rows of a segment or an outbound journey: read, compared, and written only where they differ."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.segments.groups import groups_of
from airflow_provider_cij.dataverse.odata import query, row_path
from airflow_provider_cij.errors import CijConflictError, CijNotFoundError, CijRefusedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

_OWNER = "owningbusinessunit@odata.bind"
_BIND = "@odata.bind"


Changes = Mapping[str, Mapping[str, Any]]
"""What was written to a row: by argument, ``{"old": …, "new": …}``; counts where the value holds people, and of groups
``{name: "include" or "exclude"}``."""

_ARGUMENTS = {
    "msdynmkt_displayname": "display_name",
    "msdynmkt_segmentquery": "query",
    "msdynmkt_baseentitylogicalname": "base_table",
    "msdynmkt_staticlistmembers": "groups",
    "msdynmkt_disablesegmentrefresh": "static_snapshot",
    "msdynmkt_segmentrefreshintervalminutes": "refresh_interval_minutes",
    "msdynmkt_includedmembers": "included_members",
    "msdynmkt_excludedmembers": "excluded_members",
    "msdyncrm_segmentname": "display_name",
    "msdyncrm_segmentquery": "query",
    "msdyncrm_name": "name",
    _OWNER: "business_unit_id",
}
_PEOPLE = ("msdynmkt_includedmembers", "msdynmkt_excludedmembers", "msdyncrm_segmentmemberids")


def _argument(column: str) -> str:
    return _ARGUMENTS.get(column) or column.removesuffix(_BIND).removeprefix("msdynmkt_").removeprefix("msdyncrm_")


def _change_of(column: str, new: Any, there: Mapping[str, Any]) -> dict[str, Any]:
    old = there.get(read_name(column))
    if column in _PEOPLE:
        return {"old": _people(old), "new": _people(new)}
    if column == "msdynmkt_staticlistmembers":
        return {"old": _groups(old), "new": _groups(new)}
    return {"old": old, "new": new.split("(")[-1].rstrip(")") if column.endswith(_BIND) else new}


def _people(text: Any) -> int:
    return len([one for one in re.split(r"[\s,;\[\]]+", str(text or "")) if one])


def _groups(text: Any) -> dict[str, str]:
    return {group.name: "include" if group.include else "exclude" for group in groups_of(text)}


@dataclass(frozen=True)
class Table:
    """A table that rows are written to."""

    entity_set: str
    id_column: str
    at_birth: Mapping[str, Any]
    """State and status of a new row, and what else is ours to say of a new row only."""


SEGMENTS = Table("msdynmkt_segments", "msdynmkt_segmentid", {"statecode": 1, "statuscode": 2})
DEFINITIONS = Table(
    "msdynmkt_segmentdefinitions", "msdynmkt_segmentdefinitionid", {"statecode": 0, "statuscode": 723270001}
)


def read_name(column: str) -> str:
    """Name a column as it is read: a lookup has another name when it is written."""
    return f"_{column.removesuffix(_BIND).lower()}_value" if column.endswith(_BIND) else column


async def read(client: DataverseClient, table: Table, row_id: str, columns: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the columns that one means to write; None when there is no such row."""
    names = [read_name(name) for name in columns]
    try:
        return await client.get(query(row_path(table.entity_set, row_id), select=names))
    except CijNotFoundError:
        return None


async def bring(
    client: DataverseClient, table: Table, row_id: str, row: Mapping[str, Any], there: Mapping[str, Any] | None
) -> tuple[bool, Changes]:
    """Make a row, or bring what is there to the values given.

    :param row: the columns as they shall be
    :param there: what ``read`` gave
    :return: whether it was made, and what was changed in it
    :raises CijConflictError: somebody changes it at the same time
    """
    if there is None:
        try:
            new = {table.id_column: row_id, **row, **table.at_birth}
            await client.post(table.entity_set, new, repeatable=True)
        except CijConflictError:
            # It came into being since we looked: our own lost reply, or a second run of the same DAG.
            there = await read(client, table, row_id, row)
            if there is None:
                raise
        except CijRefusedError as error:
            raise _explained(error, row) from None
        else:
            return True, {}
    differing = {name: value for name, value in row.items() if not _same(name, value, there)}
    if not differing:
        return False, {}
    log.info("%s differs in %s", row_path(table.entity_set, row_id), ", ".join(differing))
    try:
        await _change(client, table, row_id, differing, there)
    except CijRefusedError as error:
        raise _explained(error, differing) from None
    return False, {_argument(name): _change_of(name, value, there) for name, value in differing.items()}


async def _change(
    client: DataverseClient, table: Table, row_id: str, row: Mapping[str, Any], there: Mapping[str, Any]
) -> None:
    path = row_path(table.entity_set, row_id)
    for last in (False, False, True):
        try:
            await client.patch(path, row, if_match=str(there.get("@odata.etag") or "*"))
            return
        except CijConflictError:
            # The service writes to the row as well, with each evaluation. If what we saw of it is unchanged, go on.
            now = await read(client, table, row_id, _values(there))
            if last or now is None or _values(now) != _values(there):
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


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if "@" not in name}


def _explained(error: CijRefusedError, row: Mapping[str, Any]) -> CijRefusedError:
    if _OWNER in row and error.http_status in (400, 403):
        error.hint = (
            f"{error.hint} The row names a business unit as its owner: that is writable only where modernised business "
            "units are switched on, and to who may assign it."
        ).strip()
    return error


def _same(column: str, ours: Any, there: Mapping[str, Any]) -> bool:
    """Compare a value with what the service gives back, which need not be spelt as it was written."""
    if column == "msdynmkt_type":
        return True  # written as static, it has been read back as dynamic
    theirs = there.get(read_name(column))
    if column.endswith(_BIND):
        return str(ours).endswith(f"({str(theirs).lower()})")
    if column.endswith("datetime"):
        return _minute(ours) == _minute(theirs)
    if column == "msdyncrm_workflowdefinition":
        return _plain(ours) == _plain(theirs)
    if column == "msdynmkt_staticlistmembers":
        return set(groups_of(ours)) == set(groups_of(theirs))
    if column == "msdynmkt_sourcesegmentuid":
        return bool(ours == str(theirs or "").lower())
    return bool(ours == ("" if theirs is None and isinstance(ours, str) else theirs))


def _minute(text: Any) -> object:
    """Read a moment to the minute: of journeys the service keeps no more."""
    try:
        return datetime.fromisoformat(str(text)).replace(second=0, microsecond=0)
    except (OverflowError, ValueError):
        return text


def _plain(text: Any) -> object:
    try:
        return json.loads(str(text))
    except (RecursionError, ValueError):
        return text
