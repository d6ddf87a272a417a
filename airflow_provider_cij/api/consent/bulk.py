"""Write consent in bulk, so that no later "no" is lost: read, plan, write, and read again.

Sources: Dataverse docs, "Use bulk operation messages", "Execute batch operations using the Web API", "Perform
conditional operations". New rows have ids of our own, so a repeat makes no second row. Opt-outs go by UpdateMultiple.
Each opt-in is a request of its own in a batch, with the version of the row that the plan was made for: a row that was
changed since is read and planned anew. After opt-ins the rows are read once more, for a "no" that came into another row
meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_cij.api.consent import columns
from airflow_provider_cij.api.consent.import_plan import (
    CREATED,
    FAILED,
    KEPT_NEWER,
    UNCHANGED,
    UPDATED,
    Statement,
    plan,
)
from airflow_provider_cij.api.consent.marker import Marker, is_ours, marked, plain_reason
from airflow_provider_cij.api.consent.private import private
from airflow_provider_cij.api.consent.reading import address_key, read_rows, spellings
from airflow_provider_cij.api.consent.rules import ConsentRow, ConsentValue
from airflow_provider_cij.api.consent.target import Target
from airflow_provider_cij.dataverse.multipart import Operation
from airflow_provider_cij.dataverse.odata import row_path
from airflow_provider_cij.dataverse.responses import error_of
from airflow_provider_cij.dataverse.values import trimmed
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijForbiddenError,
    CijNotFoundError,
    CijRefusedError,
    CijServerError,
    CijThrottledError,
)

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

OUTCOMES = (CREATED, UPDATED, UNCHANGED, KEPT_NEWER, FAILED)
# Of a statement on a topic and its purpose, or over several rounds, the later word here counts.
_RANK = (UNCHANGED, UPDATED, CREATED, KEPT_NEWER, FAILED)
_TYPE = "Microsoft.Dynamics.CRM.msdynmkt_contactpointconsent4"
_A_REQUEST = 100
_ROUNDS = 6

OnFailed = Callable[[Sequence[tuple[int, str]]], None]
"""Called with lines that failed, and why. The reason may repeat the address."""


@dataclass(frozen=True)
class _Write:
    """One row that is written.

    :param address: the address, as ``address_key`` returns it
    :param row_id: the row's id
    :param body: the columns
    :param if_match: the version that the row must have; ``""`` for a row that must not exist
    :param outcome: what the address counts as when it succeeds; ``""``, as what it counts already
    """

    address: str
    row_id: str
    body: Mapping[str, Any]
    if_match: str
    outcome: str


class ConsentImport:
    """Writes statements about addresses, in batches that share no address.

    :param client: an open client
    :param target: the purpose or topic, and the channel
    :param overwrite: ``if_source_newer``, ``always`` or ``never``
    :param dry_run: True only plans and counts; default False
    :param on_failed: called with the lines that failed; default None
    """

    def __init__(
        self,
        client: DataverseClient,
        target: Target,
        overwrite: str,
        *,
        dry_run: bool = False,
        on_failed: OnFailed | None = None,
    ) -> None:
        self._client = client
        self._target = target
        self._overwrite = overwrite
        self._dry_run = dry_run
        self._on_failed = on_failed
        self.counts: Counter[str] = Counter()

    async def write(self, statements: Sequence[Statement]) -> None:
        """Write statements, and add their outcomes to ``counts``.

        :param statements: about distinct addresses
        :raises CijError: the service is not there, or refuses everything; the error holds no address
        """
        batch = _Batch({address_key(statement.address): statement for statement in statements})
        pending: Iterable[str] = batch.statements
        for attempt in range(_ROUNDS):
            rows = await read_rows(self._client, batch.spelled(pending), self._target, to_write=True)
            work = self._planned(batch, pending, rows)
            if self._dry_run:
                break
            await self._carry_out(batch, work)
            pending = list(batch.again)
            if not pending:
                break
            if batch.passing and attempt + 1 < _ROUNDS:
                await asyncio.sleep(max(2.0**attempt, batch.passing.retry_after or 0))
        else:
            self._give_up(batch)
        self.counts.update(batch.outcomes.values())
        failed = [(batch.statements[key].line, reason) for key, reason in batch.reasons.items()]
        if failed and self._on_failed:
            self._on_failed(failed)

    def _planned(
        self, batch: _Batch, addresses: Iterable[str], rows: Mapping[str, Sequence[ConsentRow]]
    ) -> Mapping[str, list[_Write]]:
        """Return what is to be written, by how it is written, and record what stays as it is."""
        work: dict[str, list[_Write]] = {"Create": [], "Update": [], "yes": []}
        for address in addresses:
            statement = batch.statements[address]
            for topic_id in self._keys(statement):
                of_key = [row for row in rows.get(address, ()) if row.topic_id == topic_id]
                planned = plan(statement, of_key, self._overwrite)
                if self._dry_run or planned.outcome in (UNCHANGED, KEPT_NEWER):
                    batch.record(address, planned.outcome)
                if planned.create:
                    work["Create"].append(self._created(address, topic_id, statement))
                for row, said_no_at in planned.repaired:
                    no = replace(statement, value=ConsentValue.OPTED_OUT, given_at=said_no_at, reason=row.reason)
                    work["Update"].append(replace(self._changed(address, row, no), outcome=KEPT_NEWER))
                work["Update"] += [self._changed(address, row, statement) for row in planned.to_no]
                work["yes"] += [self._changed(address, row, statement) for row in planned.to_yes]
        return work

    def _keys(self, statement: Statement) -> Sequence[str]:
        """Return the topics whose rows a statement concerns, ``""`` for the purpose.

        An opt-in to a topic needs one to its purpose ("Create consent records").
        """
        if self._target.topic_id and statement.value is ConsentValue.OPTED_IN:
            return (self._target.topic_id, "")
        return (self._target.topic_id,)

    def _created(self, address: str, topic_id: str, statement: Statement) -> _Write:
        target = self._target
        topic = {"msdynmkt_topicId@odata.bind": f"/msdynmkt_topics({topic_id})"} if topic_id else {}
        body = {
            columns.POINT: trimmed(statement.address),
            columns.POINT_TYPE: int(target.channel),
            columns.KIND: columns.OF_TOPIC if topic_id else columns.OF_PURPOSE,
            "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({target.purpose_id})",
            **topic,
            **self._said(statement, columns.INTERNAL),
            columns.SOURCE: columns.INTERNAL,
            columns.LOGICAL_REASON: columns.NO_REASONS,
        }
        words = (str(int(target.channel)), address, target.purpose_id, topic_id)
        row_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"airflow-provider-cij:consent:{':'.join(words)}"))
        return _Write(address, row_id, body, "", CREATED)

    def _changed(self, address: str, row: ConsentRow, statement: Statement) -> _Write:
        if row.value == statement.value:  # only dated anew: it stays the choice of whoever made it
            said = self._said(statement, row.source, only_dated=not is_ours(row))
            return _Write(address, row.row_id, said, row.etag, "")
        body = {
            **self._said(statement, columns.INTERNAL),
            columns.SOURCE: columns.INTERNAL,
            columns.LOGICAL_REASON: columns.NO_REASONS,
        }
        return _Write(address, row.row_id, body, row.etag, UPDATED)

    def _said(self, statement: Statement, source: int | None, *, only_dated: bool = False) -> dict[str, Any]:
        now = datetime.fromtimestamp(time.time() + self._client.service_ahead, UTC)
        marker = Marker(statement.given_at, int(statement.value), source, now, only_dated)
        return {columns.VALUE: int(statement.value), columns.REASON: marked(plain_reason(statement.reason), marker)}

    async def _carry_out(self, batch: _Batch, work: Mapping[str, list[_Write]]) -> None:
        batch.again, batch.passing = {}, None
        for verb in ("Update", "Create"):  # whatever says no comes first
            for start in range(0, len(work[verb]), _A_REQUEST):
                await self._write_many(batch, verb, work[verb][start : start + _A_REQUEST])
        for start in range(0, len(work["yes"]), _A_REQUEST):
            await self._one_by_one(batch, work["yes"][start : start + _A_REQUEST])

    async def _write_many(self, batch: _Batch, verb: str, writes: Sequence[_Write]) -> None:
        targets = [{"@odata.type": _TYPE, columns.ID: write.row_id, **write.body} for write in writes]
        try:
            await private(
                f"POST {columns.CONSENTS} ({verb}Multiple)", self._client.write_many(verb, columns.CONSENTS, targets)
            )
        except CijForbiddenError:
            raise
        except CijRefusedError as error:
            # One bad row undoes all of them, and nothing says which.
            log.info("%s rows were refused together (%s), sending them one by one", f"{len(writes):,}", error.code)
        else:
            for write in writes:
                batch.succeeded(write)
            return
        if_match = "" if verb == "Create" else "*"
        await self._one_by_one(batch, [replace(write, if_match=if_match) for write in writes])

    async def _one_by_one(self, batch: _Batch, writes: Sequence[_Write]) -> None:
        root = urlsplit(self._client.settings.api_url).path
        operations = [
            Operation(
                "PATCH",
                f"{root}{row_path(columns.CONSENTS, write.row_id)}",
                write.body,
                {"If-Match": write.if_match} if write.if_match else {"If-None-Match": "*"},
            )
            for write in writes
        ]
        responses = await private(f"POST {columns.CONSENTS} ($batch)", self._client.batch(operations))
        for write, response in zip(writes, responses, strict=True):
            if response.status < 300:
                batch.succeeded(write)
                continue
            error = error_of(response, time.time())
            if isinstance(error, CijForbiddenError):
                raise error
            passing = isinstance(error, (CijServerError, CijThrottledError))
            if passing and (error.retry_after or 0) > self._client.settings.max_throttle_wait_seconds:
                raise error  # the task gives its worker back meanwhile
            if passing or isinstance(error, (CijConflictError, CijNotFoundError)):
                # Failed for now; or changed, made or deleted since it was read: by others, or by a try of ours whose
                # response was lost.
                batch.again[write.address] = None
                batch.tried[write.address] = write.outcome
                batch.passing = error if passing else batch.passing
            else:
                batch.record(write.address, FAILED, f"{error.code or f'HTTP {error.http_status}'}: {error.message}")

    def _give_up(self, batch: _Batch) -> None:
        if batch.passing:
            what = f"Writing {len(batch.again):,} rows of {columns.CONSENTS}"
            raise CijError.from_dict(batch.passing.as_dict() | {"message": f"{what} failed {_ROUNDS} times."})
        for address in batch.again:
            batch.record(
                address,
                FAILED,
                f"others changed its rows {_ROUNDS} times meanwhile, or a row of another address has its id",
            )


class _Batch:
    """The statements of one batch, and what became of them.

    :param statements: by address
    """

    def __init__(self, statements: Mapping[str, Statement]) -> None:
        self.statements = statements
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.again: dict[str, None] = {}
        self.tried: dict[str, str] = {}
        self.passing: CijError | None = None

    def spelled(self, addresses: Iterable[str]) -> dict[str, list[str]]:
        """Return addresses as ``read_rows`` takes them."""
        said = [self.statements[address] for address in addresses]
        return spellings(text for statement in said for text in (statement.address, statement.spelled))

    def succeeded(self, write: _Write) -> None:
        """Record a write. An address that was opted in is read again."""
        self.record(write.address, write.outcome or UNCHANGED)
        if write.body[columns.VALUE] != ConsentValue.OPTED_OUT:
            self.again[write.address] = None

    def record(self, address: str, outcome: str, reason: str = "") -> None:
        """Record an outcome; the one that weighs more stays."""
        if outcome == UNCHANGED:
            outcome = self.tried.pop(address, "") or UNCHANGED
        self.outcomes[address] = max(self.outcomes.get(address, outcome), outcome, key=_RANK.index)
        if outcome == FAILED:
            self.reasons[address] = reason
