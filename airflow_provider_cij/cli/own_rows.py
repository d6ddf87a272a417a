"""The rows that the probe creates: named with a prefix, recorded before they are created, and deleted at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_cij.dataverse.odata import literal, query, row_path
from airflow_provider_cij.errors import CijError, CijNotFoundError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

PREFIX = "cij-probe-"
"""The prefix of the names of all rows of the probe."""

SEGMENTS, DEFINITIONS, JOURNEYS = "msdynmkt_segments", "msdynmkt_segmentdefinitions", "msdynmkt_journeys"
CONTACTS, CONSENTS, OUTBOUND_SEGMENTS = "contacts", "msdynmkt_contactpointconsent4s", "msdyncrm_segments"
KEYS = {
    SEGMENTS: "msdynmkt_segmentid",
    DEFINITIONS: "msdynmkt_segmentdefinitionid",
    JOURNEYS: "msdynmkt_journeyid",
    CONTACTS: "contactid",
    CONSENTS: "msdynmkt_contactpointconsent4id",
    OUTBOUND_SEGMENTS: "msdyncrm_segmentid",
}
"""The id column of each table that the probe writes."""

_NAMES = {
    SEGMENTS: "msdynmkt_displayname",
    DEFINITIONS: "msdynmkt_name",
    JOURNEYS: "msdynmkt_name",
    CONTACTS: "lastname",
    CONSENTS: "msdynmkt_contactpointvalue",
    OUTBOUND_SEGMENTS: "msdyncrm_segmentname",
}
_DEFINITION_OF = "msdynmkt_sourcesegmentuid"
_STOP = "msdynmkt_StopSegments"
_ENDED = (2, 3, 4, 9, 10, 11)
_LONGEST_PAUSE = 5.0


class OwnRows:
    """Records the probe's rows in a file, so that the next run deletes those that a killed run left.

    :param client: an open client
    :param path: the file, deleted with the last row
    :param patience: seconds to wait for a segment to stop
    """

    def __init__(self, client: DataverseClient, path: Path, patience: float) -> None:
        self._client = client
        self._path = path
        self._patience = patience

    def note(self, entity_set: str, row_id: str) -> None:
        """Write a row to the record, before it is created.

        :param entity_set: the row's entity set
        :param row_id: its id
        """
        with self._path.open("a", encoding="utf-8") as record:
            record.write(json.dumps([entity_set, row_id]) + "\n")

    async def remove(self) -> int:
        """Delete all rows: those in the record, newest first, and those whose name has the prefix.

        :return: the number of rows that could not be deleted
        """
        rows = dict.fromkeys([*reversed(self._recorded()), *await self._with_prefix()])
        left = [row for row in rows if not await self._delete(*row)]
        if left:
            self._path.write_text("".join(json.dumps(row) + "\n" for row in reversed(left)), encoding="utf-8")
        else:
            self._path.unlink(missing_ok=True)
        return len(left)

    def _recorded(self) -> list[tuple[str, str]]:
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                entity_set, row_id = json.loads(line)
            except ValueError:  # the process was killed while it wrote this line: the row was not created
                continue
            if entity_set in KEYS:
                found.append((str(entity_set), str(row_id)))
        return found

    async def _with_prefix(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for entity_set, name in _NAMES.items():
            extra = (_DEFINITION_OF,) if entity_set == SEGMENTS else ()
            where = f"startswith({name},{literal(PREFIX)})"
            path = query(entity_set, select=(KEYS[entity_set], name, *extra), where=where)
            try:
                rows = await self._client.all_rows(path)
            except CijError as error:  # the table is missing, or can't be read: the probe created no row in it
                log.debug("Rows of %s could not be searched: %s", entity_set, error.message)
                continue
            # Compared exactly: the service ignores case and accents.
            rows = [row for row in rows if str(row.get(name)).startswith(PREFIX)]
            found += [(entity_set, str(row.get(KEYS[entity_set]))) for row in rows]
            found += [(DEFINITIONS, str(row[_DEFINITION_OF])) for row in rows if row.get(_DEFINITION_OF)]
        return found

    async def _delete(self, entity_set: str, row_id: str) -> bool:
        try:
            path = row_path(entity_set, row_id)
            if entity_set == SEGMENTS and not await self._try(path):
                await self._stop(row_id)
            return await self._try(path)
        except CijError as error:
            log.debug("A row of %s could not be deleted: %s", entity_set, error.message)
            return False

    async def _try(self, path: str) -> bool:
        try:
            await self._client.delete(path)
        except CijNotFoundError:
            return True
        except CijError as error:
            log.debug("The row could not be deleted: %s", error.message)
            return False
        return True

    async def _stop(self, segment_id: str) -> None:
        """Stop a live segment, and wait until it is stopped."""
        await self._client.action(_STOP, {"SegmentIdList": [segment_id]}, repeatable=True, refusals=False)
        path = query(row_path(SEGMENTS, segment_id), select=("statuscode",))
        deadline, pause = time.monotonic() + self._patience, 0.05
        while time.monotonic() < deadline:
            if (await self._client.get(path)).get("statuscode") in _ENDED:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
