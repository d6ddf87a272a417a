"""Write rows in bulk requests, and one by one where the service refuses a bulk request.

Source: Dataverse docs, "Use bulk operation messages": on standard tables one bad row rolls back a whole request, and
the response does not say which. A request in a batch outside change sets succeeds or fails by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from airflow_provider_cij.api.records.existing import ExistingRows, withheld
from airflow_provider_cij.api.records.plan import Plan, PlannedRow
from airflow_provider_cij.api.records.spec import UpsertSpec
from airflow_provider_cij.dataverse.multipart import Operation
from airflow_provider_cij.dataverse.odata import query, row_path
from airflow_provider_cij.dataverse.responses import Response, error_of, value_of
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijForbiddenError,
    CijRefusedError,
    CijServerError,
    CijThrottledError,
    CijUnavailableError,
)

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

SQL_TIMEOUT = "0x80044151"
# The same bulk request would fail again; one by one, the valid rows succeed.
_FINAL = frozenset({SQL_TIMEOUT, "0x80040216"})
_TOO_LARGE = 413
_TRIES = 4

CREATE, UPSERT, UPDATE = "Create", "Upsert", "Update"

OnResults = Callable[[int, int, Sequence["Result"]], None]
"""Called with the number of a window, how many of its writes are done, and those results that have ids or a reason."""


class Write(NamedTuple):
    """One row that is written.

    :param row: the row of the list
    :param row_id: the row's id; ``""`` when the service chooses it
    :param body: the columns that are written, without the key
    """

    row: PlannedRow
    row_id: str
    body: Mapping[str, Any]


class Result(NamedTuple):
    """The result of one write.

    :param row: the row of the list
    :param ids: ids of the rows that were written; empty when they are not needed
    :param reason: the reason of a failure; default ``""``, the write succeeded
    """

    row: PlannedRow
    ids: Sequence[str]
    reason: str = ""


@dataclass(frozen=True)
class Job:
    """Rows that are written by one request.

    :param verb: ``Create``, ``Upsert`` or ``Update``
    :param writes: the rows
    :param window: the number of the window
    """

    verb: str
    writes: Sequence[Write]
    window: int


class Writer:
    """Writes rows.

    :param client: an open client
    :param plan: the columns and the key
    :param spec: the options of the upsert
    :param existing: looks up rows
    :param on_results: called at least once a request
    :param wants_ids: True looks up the ids that the service assigned
    """

    def __init__(
        self,
        client: DataverseClient,
        plan: Plan,
        spec: UpsertSpec,
        existing: ExistingRows,
        on_results: OnResults,
        *,
        wants_ids: bool,
    ) -> None:
        self._client = client
        self._plan = plan
        self._spec = spec
        self._existing = existing
        self._on_results = on_results
        self._wants_ids = wants_ids
        self._longest_pause = client.settings.max_throttle_wait_seconds
        self._type = f"Microsoft.Dynamics.CRM.{plan.table.name}"
        self._no_multiple = False
        self._written = False
        self.batch_size = spec.batch_size
        self.requests = 0

    async def send(self, job: Job) -> None:
        """Write the rows of a job, in several requests where the service refuses one.

        :param job: the rows
        :raises CijError: the service is not there, or refuses everything; the error holds no value
        """
        if self._no_multiple:
            await self._one_by_one(job)
            return
        failure: CijError | None = None
        try:
            self.requests += 1
            await self._client.write_many(
                job.verb,
                self._plan.table.entity_set,
                [self._target(job.verb, write) for write in job.writes],
                headers=self._spec.headers,
                final_codes=_FINAL,
            )
        except CijError as error:
            failure = error
        if failure is None:
            await self._succeeded(job)
        elif _too_much(failure) and len(job.writes) > 1:
            await self._halve(job)
        elif _concerns_rows(failure):
            if isinstance(failure, CijUnavailableError):
                log.warning("The organisation has no %sMultiple for %s", job.verb, self._plan.table.name)
                self._no_multiple = True
            log.info("%s rows were refused together (%s), sending them one by one", *_shown(job, failure))
            await self._one_by_one(job)
        else:
            raise withheld(failure, f"Writing {len(job.writes):,} rows of {self._plan.table.entity_set}")

    async def _halve(self, job: Job) -> None:
        half = (len(job.writes) + 1) // 2
        if half < self.batch_size:
            self.batch_size = half
            log.warning(
                "%s rows are too many for one request, sending %s at a time", f"{len(job.writes):,}", f"{half:,}"
            )
        for part in (job.writes[:half], job.writes[half:]):
            await self.send(Job(job.verb, part, job.window))

    async def _succeeded(self, job: Job) -> None:
        self._written = True
        results: list[Result] = []
        if self._wants_ids and job.verb == UPSERT:
            found = (await self._existing.find([write.row for write in job.writes])).rows
            column = self._plan.table.id_column
            results = [
                Result(write.row, [str(row.get(column)) for row in found.get(write.row.key, ())])
                for write in job.writes
            ]
        elif self._wants_ids:
            results = [Result(write.row, [write.row_id]) for write in job.writes]
        self._on_results(job.window, len(job.writes), results)

    def _count(self, job: Job, write: Write, ids: Sequence[str], reason: str = "") -> None:
        self._written |= not reason
        self._on_results(job.window, 1, [Result(write.row, ids, reason)])

    def _target(self, verb: str, write: Write) -> dict[str, Any]:
        if verb == UPSERT:
            # For a new row, key columns in the body as well would be an error.
            link = f"{self._plan.table.entity_set}({self._plan.key_link(write.row)})"
            return {"@odata.type": self._type, "@odata.id": link, **write.body}
        return {"@odata.type": self._type, self._plan.table.id_column: write.row_id, **write.body}

    async def _one_by_one(self, job: Job) -> None:
        """Write each row by its own request in a batch, and count it by its response."""
        writes = list(job.writes)
        if job.verb != UPDATE:
            # A request whose response was lost may have been carried out.
            writes = await self._left(job, writes)
        if not writes:
            return
        failed = await self._batched(job, writes)
        if job.verb == CREATE and (conflicts := [w for w, error in failed if isinstance(error, CijConflictError)]):
            left = {id(write) for write in await self._left(job, conflicts)}
            failed = [(w, error) for w, error in failed if not isinstance(error, CijConflictError) or id(w) in left]
        if failed and not self._written and all(isinstance(error, CijForbiddenError) for _, error in failed):
            raise withheld(failed[0][1], f"Writing rows of {self._plan.table.entity_set}")
        moved: dict[str, str] = {}
        if job.verb == CREATE:
            moved = await self._moved(write for write, error in failed if isinstance(error, CijConflictError))
        for write, error in failed:
            self._count(job, write, (), moved.get(write.row_id) or reason_of(error))

    async def _moved(self, conflicts: Iterable[Write]) -> dict[str, str]:
        """Return reasons by id for rows whose id is taken by a row whose key has changed since it was created."""
        ids = [write.row_id for write in conflicts if write.row_id and not self._plan.by_id]
        table = self._plan.table
        names = " and ".join(column.name for column in self._plan.key_columns)
        reasons = {}
        for there in await self._existing.with_ids(ids):
            row_id = str(there.get(table.id_column))
            reasons[row_id] = (
                f"{table.name} {row_id} was created from this key and has another {names} now. Change it back, or "
                f"create the {table.name} with this key by hand: a later run updates it."
            )
        return reasons

    async def _left(self, job: Job, writes: list[Write]) -> list[Write]:
        """Return the writes of new rows that still do not exist; count the others as written."""
        found = await self._existing.find([write.row for write in writes])
        left: list[Write] = []
        for write in writes:
            rows = found.rows.get(write.row.key)
            if not rows:
                left.append(write)
                continue
            there = rows[0]
            row_id = str(there.get(self._plan.table.id_column))
            changes = self._plan.changes(write.row, there, changed_only=True)
            if self._spec.mode == "create_only" or not changes:
                self._count(job, write, [row_id])
            else:
                await self._one_by_one(Job(UPDATE, [Write(write.row, row_id, changes)], job.window))
        return left

    async def _batched(self, job: Job, writes: Sequence[Write]) -> list[tuple[Write, CijError]]:
        """Send the requests of a batch, retry those with a transient failure, and return those that failed."""
        pending, failed = list(writes), list[tuple[Write, CijError]]()
        for attempt in range(_TRIES):
            self.requests += 1
            responses = await self._client.batch([self._operation(job.verb, write) for write in pending])
            passing: list[tuple[Write, CijError]] = []
            for write, response in zip(pending, responses, strict=True):
                if response.status < 300:
                    # "Updated" for a row that did not exist: an earlier batch created it, and its response was lost.
                    self._count(job, write, self._ids(write, response))
                    continue
                error = error_of(response, time.time())
                if isinstance(error, CijThrottledError) and (error.retry_after or 0) > self._longest_pause:
                    raise error
                transient = isinstance(error, (CijServerError, CijThrottledError))
                (passing if transient else failed).append((write, error))
            pending = [write for write, _ in passing]
            if not pending:
                return failed
            if attempt + 1 < _TRIES:
                await self._client.pause(max(2.0**attempt, *(error.retry_after or 0.0 for _, error in passing)))
        outage = [error for _, error in passing if not error.code or isinstance(error, CijThrottledError)]
        if outage:
            raise withheld(outage[0], f"Writing rows of {self._plan.table.entity_set}")
        return failed + passing

    def _ids(self, write: Write, response: Response) -> list[str]:
        if write.row_id:
            return [write.row_id]
        found = value_of(response).get(self._plan.table.id_column)
        return [str(found)] if found else []

    def _operation(self, verb: str, write: Write) -> Operation:
        entity_set = self._plan.table.entity_set
        root = urlsplit(self._client.settings.api_url).path
        headers, body = dict(self._spec.headers), dict(write.body)
        if verb == UPSERT:
            key = quote(self._plan.key_link(write.row), safe="=,'")
            path = query(f"{entity_set}({key})", select=(self._plan.table.id_column,))
            headers["Prefer"] = "return=representation"
        else:
            path = row_path(entity_set, write.row_id)
            headers["If-Match" if verb == UPDATE else "If-None-Match"] = "*"
        return Operation("PATCH", f"{root}{path}", body, headers)


def _too_much(error: CijError) -> bool:
    return error.code.lower() == SQL_TIMEOUT or error.http_status == _TOO_LARGE


def _concerns_rows(error: CijError) -> bool:
    """Return whether rows may have caused an error: the service refused the request, or failed with its own code."""
    return isinstance(error, CijRefusedError) or (isinstance(error, CijServerError) and bool(error.code))


def _shown(job: Job, error: CijError) -> tuple[str, str]:
    return f"{len(job.writes):,}", error.code or f"HTTP {error.http_status}"


def reason_of(error: CijError) -> str:
    """Return why the service refused one row, for a file. It may repeat the row's values.

    :param error: the service's error
    """
    said = error.message.partition(": ")[2] or error.message
    return f"{error.code or f'HTTP {error.http_status}'}: {said}"
