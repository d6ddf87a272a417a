"""What outbound segments and journeys have in common: read, find, publish, stop, delete.

Sources: those of ``outbound.models``. A status is changed by writing it: Going live publishes, Stopping stops, and the
service does the rest after its response.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_cij.api.names import id_of_name
from airflow_provider_cij.api.outbound.models import (
    STOPPED,
    Kind,
    OutboundRow,
    OutboundStatus,
    check_move,
    removal_explained,
)
from airflow_provider_cij.api.row_sync import Changes, create_or_update, delete_row, read_columns, rows_by_id
from airflow_provider_cij.api.segments.spec import IfExists, check_if_exists
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import query, row_path
from airflow_provider_cij.errors import CijConflictError, CijInUseError, CijNotFoundError, CijRefusedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

# The service writes these rows as well: a change that meets one of its own is tried anew.
_TRIES = 3
_IN_USE = "0x80040227"

R = TypeVar("R", bound=OutboundRow)


@dataclass(frozen=True)
class CreatedOutbound:
    """What a create or update has done.

    :param row_id: the segment's or the journey's id
    :param created: True when it was missing and was created
    :param changed: True when it existed and differed
    :param status: in one word
    :param changes: what was written, by argument: ``{"old": …, "new": …}``
    """

    row_id: str
    created: bool
    changed: bool
    status: str
    changes: Changes = field(default_factory=dict)


class OutboundRows(Generic[R]):
    """The verbs on rows, over one open client.

    :param client: open
    :param kind: segments or journeys
    :param of: reads a row
    """

    def __init__(self, client: DataverseClient, kind: Kind, of: Callable[[Mapping[str, Any]], R]) -> None:
        self._client = client
        self.kind = kind
        self._of = of

    def _path(self, row_id: str) -> str:
        return row_path(self.kind.table.entity_set, normalize_guid(row_id, f"{self.kind.word}_id"))

    async def get(self, row_id: str) -> R:
        """Read a row.

        :raises CijNotFoundError: there is none of this id
        """
        with removal_explained():
            return self._of(await self._client.get(query(self._path(row_id), select=self.kind.columns)))

    async def id_of_name(self, name: str) -> str:
        """Return the id of the only row with a name.

        :param name: the name that people see
        :raises CijNotFoundError: no row has the name
        :raises CijInputError: several have it
        """
        with removal_explained():
            return await id_of_name(
                self._client,
                name,
                what=f"outbound {self.kind.word}",
                entity_set=self.kind.table.entity_set,
                id_column=self.kind.table.id_column,
                name_column=self.kind.columns[1],
            )

    async def get_many(self, row_ids: Sequence[str]) -> dict[str, R]:
        """Read many with one request.

        :param row_ids: some hundreds at the most
        :return: those that exist, by id
        """
        return {row_id: self._of(row) for row_id, row in (await self.rows(row_ids)).items()}

    async def rows(self, row_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Read many with one request, as the service returns them.

        :param row_ids: some hundreds at the most
        :return: those that exist, by id
        """
        table = self.kind.table
        with removal_explained():
            return await rows_by_id(self._client, table.entity_set, table.id_column, self.kind.columns, row_ids)

    async def find(
        self, where: str = "", *, status: OutboundStatus | None = None, select: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Read rows, as the service gives them.

        :param where: which, as an OData filter; values in it by ``odata.literal``
        :param status: only those in this status
        :param select: the columns; all by default
        """
        conditions = [f"statuscode eq {int(status)}"] if status is not None else []
        conditions += [f"({where})" if conditions else where] if where else []
        path = query(self.kind.table.entity_set, select=select, where=" and ".join(conditions))
        with removal_explained():
            return await self._client.all_rows(path)

    async def publish(self, row: R | str) -> R:
        """Set one to Going live. The service does the rest later: wait with ``OutboundWait``. Idempotent.

        :param row: as it is, or its id, by which it is read first
        :return: the row, going live; a journey that is live already stays as it is
        :raises CijInputError: its status does not allow it; nothing was sent
        :raises CijRefusedError: the service finds an error in it
        """
        return await self._change_status(row, OutboundStatus.GOING_LIVE, self.kind.kept)

    async def stop(self, row: R | str) -> R:
        """Set one to Stopping. The service does the rest later: wait with ``OutboundWait``. Idempotent.

        :param row: as it is, or its id, by which it is read first
        :return: the row, stopping; one that is stopped or stopping already stays as it is
        :raises CijInputError: its status does not allow it; nothing was sent
        """
        return await self._change_status(row, OutboundStatus.STOPPING, STOPPED | {OutboundStatus.STOPPING})

    async def _change_status(self, row: R | str, wanted: OutboundStatus, kept: frozenset[OutboundStatus]) -> R:
        left = _TRIES
        while True:
            if isinstance(row, str):
                row = await self.get(row)
            if row.status in kept:
                log.info("Outbound %s %r (%s) is %s already", self.kind.word, row.name, row.row_id, row.status_name)
                return row
            check_move(self.kind, row, wanted)
            try:
                with removal_explained():
                    # The version read: a try must not publish again what one before it, whose response was lost, has.
                    await self._client.patch(self._path(row.row_id), {"statuscode": int(wanted)}, if_match=row.etag)
            except CijConflictError:
                left -= 1
                if not left:
                    raise
                row = row.row_id
            else:
                return replace(row, status=int(wanted))

    async def delete(self, row_id: str) -> bool:
        """Delete a row.

        :return: False when there is none
        :raises CijInUseError: another row needs it
        """
        try:
            with removal_explained():
                return await delete_row(self._client, self._path(row_id))
        except CijRefusedError as error:
            if error.code.lower() != _IN_USE:
                raise
            raise CijInUseError(error.message, code=error.code, hint=await self._users(row_id)) from error

    async def _users(self, row_id: str) -> str:
        return ""

    async def _bring(
        self, row_id: str, row: Mapping[str, Any], if_exists: IfExists, initial_values: Mapping[str, Any]
    ) -> tuple[bool, Changes]:
        """Create a row with an id of our own, or update what differs.

        :return: whether it was made, and what was changed in it
        """
        check_if_exists(if_exists)
        table = self.kind.table._replace(initial_values=initial_values)
        with removal_explained():
            there = await read_columns(self._client, table, row_id, row)
            if there is not None:
                if if_exists == "fail":
                    raise CijConflictError(
                        f"Outbound {self.kind.word} {row_id} exists already, and if_exists is 'fail'."
                    )
                if if_exists == "reuse":
                    return False, {}
                self._check_same_kind(row_id, row, there)
            return await create_or_update(self._client, table, row_id, row, there)

    def _check_same_kind(self, row_id: str, row: Mapping[str, Any], there: Mapping[str, Any]) -> None:
        """Check that an existing row is of the wanted kind."""

    async def _change(self, row_id: str, row: Mapping[str, Any]) -> CreatedOutbound:
        """Write what differs in a row that exists."""
        table, row_id = self.kind.table, normalize_guid(row_id, f"{self.kind.word}_id")
        with removal_explained():
            there = await read_columns(self._client, table, row_id, row or {"statuscode": 0})
            if there is None:
                raise CijNotFoundError(f"There is no outbound {self.kind.word} {row_id}.")
            _, changes = await create_or_update(self._client, table, row_id, row, there)
        return CreatedOutbound(row_id, False, bool(changes), (await self.get(row_id)).status_name, changes)
