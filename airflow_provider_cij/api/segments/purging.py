"""Delete evaluations that ended long ago from the log, msdynmkt_segmentexecution."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.row_sync import delete_row
from airflow_provider_cij.api.segments.executions import EXECUTIONS, OF_DEFINITION
from airflow_provider_cij.api.timestamps import format_utc
from airflow_provider_cij.dataverse.odata import query, row_path

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_ID = "msdynmkt_segmentexecutionid"


async def purge_executions(client: DataverseClient, older_than_days: int) -> dict[str, Any]:
    """Delete evaluations that ended long ago, but for the last one of each segment. Idempotent.

    :param client: open
    :param older_than_days: days since the evaluation ended, by the service's clock
    :return: ``{"deleted", "kept", "ended_before"}``
    :raises CijForbiddenError: the application user may not delete them
    """
    await client.get("WhoAmI")  # a response tells the service's time
    limit = datetime.fromtimestamp(time.time() + client.service_ahead, UTC) - timedelta(days=older_than_days)
    ended_before, old, deleted = format_utc(limit), dict[str, list[str]](), 0
    where = f"msdynmkt_finishedon lt {ended_before}"
    async for page in client.pages(query(EXECUTIONS, select=(_ID, OF_DEFINITION), where=where)):
        for row in page:
            old.setdefault(str(row.get(OF_DEFINITION) or ""), []).append(row[_ID])
    last: set[str] = set()

    async def find_last(definition_id: str) -> None:
        condition = f"{OF_DEFINITION} eq {definition_id or 'null'} and msdynmkt_finishedon ne null"
        newest = query(EXECUTIONS, select=(_ID,), where=condition, orderby="msdynmkt_finishedon desc", top=1)
        last.update(row[_ID] for row in await client.rows(newest))

    async def delete(execution_id: str) -> None:
        nonlocal deleted
        if await delete_row(client, row_path(EXECUTIONS, execution_id)):
            deleted += 1

    at_once = client.settings.max_concurrency
    await for_each(old, find_last, at_once)
    found = [execution_id for ids in old.values() for execution_id in ids]
    going = [execution_id for execution_id in found if execution_id not in last]
    await for_each(going, delete, at_once)
    return {"deleted": deleted, "kept": len(found) - len(going), "ended_before": ended_before}
