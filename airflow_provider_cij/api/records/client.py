"""Upsert rows of a table: all are checked before the first write, then looked up, compared and written in batches."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.records.arguments import Columns, Lookup, logical_name
from airflow_provider_cij.api.records.checkpoint import (
    CREATED,
    EXISTING,
    FAILED,
    NOT_FOUND,
    UNCHANGED,
    UPDATED,
    UpsertCheckpoint,
)
from airflow_provider_cij.api.records.existing import ExistingRows, LookupIds
from airflow_provider_cij.api.records.metadata import Metadata
from airflow_provider_cij.api.records.plan import HALF, Column, Plan, PlannedRow, Rejected, alternate_key
from airflow_provider_cij.api.records.spec import UpsertReport, UpsertSpec
from airflow_provider_cij.api.records.spool import Packed, Spool, key_of, unpack
from airflow_provider_cij.api.records.write import CREATE, UPDATE, UPSERT, Job, Result, Write, Writer
from airflow_provider_cij.errors import CijError, CijInputError, CijRefusedError, CijStoppedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

Rows = tuple[Sequence[int], Sequence[Mapping[str, object]]]
"""A chunk of a source: line numbers, and the rows as dicts."""
OnRejected = Callable[[Sequence[tuple[int, str]]], None]
"""Called with the lines and reasons of rejected rows. A reason of the service may repeat values."""
OnIds = Callable[[Sequence[tuple[object, ...]]], None]
"""Called with tuples of a key's values and the id of the row that has the key."""
OnProgress = Callable[[int, int], None]
"""Called after each request with the number of rows whose outcome is known, and the number of rows in all."""
GetCheckpoint = Callable[[str], UpsertCheckpoint]
"""Returns the progress of an earlier try, by the fingerprint of the list."""

WINDOW = 5000
"""Rows that are looked up, written and checkpointed together."""
_MOST_LOGGED = 100
_PART = 1000


class Records:
    """The verbs on rows of any table, over one open client.

    :param client: an open client
    """

    def __init__(self, client: DataverseClient) -> None:
        self._client = client
        self._metadata = Metadata(client)

    async def plan(self, spec: UpsertSpec, names: Sequence[str]) -> Plan:
        """Check a mapping against the definition of the table.

        :param spec: the upsert
        :param names: the names of the rows' columns, used when ``spec`` maps no columns
        :return: the columns that are written
        :raises CijInputError: there is no such table or column, a column is read-only, an alternate key is not Active
        """
        table = await self._metadata.table(spec.table)
        mapped = spec.columns if spec.columns is not None else {name: name for name in names}
        logical = {source: logical_name(source, target) for source, target in mapped.items()}
        types = await self._metadata.columns(spec.table, logical.values())
        alternate = alternate_key(table, spec.key)
        columns = []
        for source, target in mapped.items():
            kind = types[logical[source]]
            reference = lookup = None
            if isinstance(target, Lookup):
                lookup = target
                reference = await self._metadata.reference(spec.table, kind.name, target.table)
                if target.key is not None:
                    await self._metadata.columns(target.table, [target.key])
            columns.append(Column(source, kind, reference, lookup))
        return Plan(table, spec.key, columns, alternate=alternate, clear_empty=spec.clear_empty)

    async def upsert(
        self,
        table: str,
        rows: AsyncIterator[Rows] | Iterable[Mapping[str, object]],
        *,
        key: str | Sequence[str],
        columns: Columns | None = None,
        on_rejected: OnRejected | None = None,
        on_ids: OnIds | None = None,
        on_plan: Callable[[Plan, int], Awaitable[None]] | None = None,
        on_progress: OnProgress | None = None,
        checkpoint: GetCheckpoint | None = None,
        **options: Any,
    ) -> UpsertReport:
        """Create and update the rows of a table. Idempotent: values that the organisation has already are not sent.

        The list is read to its end and checked before the first write. Then its rows are looked up by their keys, and
        those that are new or differ are written, ``batch_size`` a request and as many requests at once as the
        connection and the organisation allow. A request that is refused is sent row by row.

        Sources: Dataverse docs, "Use bulk operation messages", "Upsert a table row", "Send parallel requests".

        :param table: the table's logical name, such as ``contact``
        :param rows: the list: dicts, or what a source's ``rows`` yields
        :param key: the logical names of the columns that tell rows apart: those of an alternate key, the primary id, or
            others such as ``emailaddress1``
        :param columns: logical names, or lookups, by the names of the rows' columns. Default None, the same names, of
            all columns that any row has
        :param on_rejected: called with rejected rows; default None
        :param on_ids: called with the keys and ids of all rows that exist after the upsert; default None
        :param on_plan: awaited when the list is checked, before the first write, with the number of rows; default None
        :param on_progress: called after each request; default None
        :param checkpoint: returns the progress of an earlier try; default None, there was none
        :param options: the other arguments of ``UpsertSpec``
        :return: the counts
        :raises CijInputError: the mapping is wrong, no row has a mapped column, or the list exceeds ``max_invalid`` or
            has duplicates; nothing was written
        :raises CijRefusedError: the service refused more rows than ``max_failed``; the others may be written
        :raises CijError: the service does not answer; a retry writes the remaining rows
        """
        spec = UpsertSpec(table, (key,) if isinstance(key, str) else tuple(key), columns, **options)
        with Spool() as spool:
            reading = _Reading(self._client, spec, spool, on_rejected)
            plan = await reading.run(self, rows if isinstance(rows, AsyncIterator) else _in_parts(rows))
            reading.check()
            if on_plan:
                await on_plan(plan, spool.count)
            progress = (
                checkpoint(_job(self._client.settings.base_url, spec, plan, spool)) if checkpoint else None
            ) or UpsertCheckpoint()
            writing = _Writing(self._client, spec, plan, spool, progress, on_rejected, on_ids, on_progress)
            return await writing.run(reading)


async def _in_parts(rows: Iterable[Mapping[str, object]]) -> AsyncIterator[Rows]:
    remaining, first = iter(rows), 1
    while part := list(islice(remaining, _PART)):
        yield range(first, first + len(part)), part
        first += len(part)


def _job(organisation: str, spec: UpsertSpec, plan: Plan, spool: Spool) -> str:
    """Return a fingerprint of an upsert: the organisation, the options and the values."""
    columns = [(column.name, column.lookup) for column in plan.columns]
    how = (spec.mode, spec.on_multiple_matches, spec.clear_empty, spec.skip_unchanged, spec.headers, columns)
    digest = blake2b(repr(how).encode(), digest_size=HALF).hexdigest()
    return f"{organisation} {spec.table} {','.join(spec.key)} {digest} {spool.digest}"


class _Reading:
    """Reads all rows, checks them, and looks up the rows that they refer to."""

    def __init__(self, client: DataverseClient, spec: UpsertSpec, spool: Spool, on_rejected: OnRejected | None) -> None:
        self._client = client
        self._spec = spec
        self._spool = spool
        self._on_rejected = on_rejected
        self._lookups: dict[int, LookupIds] = {}
        self.read = self.invalid = self.duplicate = 0

    async def run(self, records: Records, rows: AsyncIterator[Rows]) -> Plan:
        plan: Plan | None = None
        names: dict[str, object] = {}
        async for lines, part in rows:
            known = len(names)
            for row in part:
                names.update(row)
            if plan is None or (self._spec.columns is None and len(names) > known):
                plan = await self._plan(records, list(names))
            await self._take(plan, lines, part)
        if plan is None:
            plan = await self._plan(records, list(self._spec.key))
        elif missing := [name for name in self._spec.columns or () if name not in names]:
            raise CijInputError(
                f"No row has {', '.join(map(repr, missing))}, which columns maps.",
                hint="Correct the name in columns, or leave it out. Nothing was written.",
            )
        dropped: list[tuple[int, str]] = []

        def duplicate(line: int, kept: int) -> None:
            dropped.append((line, f"its key is that of line {kept}"))
            if len(dropped) == _MOST_LOGGED:
                self._reject(dropped)
                dropped.clear()

        self.duplicate = self._spool.finish(self._spec.duplicates, duplicate)
        self._reject(dropped)
        return plan

    def check(self) -> None:
        """Raise CijInputError when too many rows are invalid, or rows are duplicates."""
        if not self._spec.max_invalid.allows(self.invalid, self.read):
            raise CijInputError(
                f"{self.invalid:,} of {self.read:,} rows are invalid, more than {self._spec.max_invalid}.",
                hint="The log names the first of them; rejects_path gives a file of all. Nothing was written.",
            )
        if self.duplicate and self._spec.duplicates == "refuse":
            raise CijInputError(
                f"{self.duplicate:,} of {self.read:,} rows have the key of another row.",
                hint="duplicates='first' or 'last' lets one of them count. Nothing was written.",
            )

    async def _plan(self, records: Records, names: Sequence[str]) -> Plan:
        plan = await records.plan(self._spec, names)
        if plan.alternate:  # keys that the service considers equal would write to the same row
            self._spool.key_size = HALF
        self._lookups = {place: LookupIds(self._client, plan.columns[place]) for place in plan.lookups}
        return plan

    async def _take(self, plan: Plan, lines: Sequence[int], part: Sequence[Mapping[str, object]]) -> None:
        self.read += len(part)
        planned, rejected = plan.read(lines, part)
        for place, ids in self._lookups.items():
            planned = await self._resolved(plan, place, ids, planned, rejected)
        self._spool.add([plan.resolved(row) for row in planned])
        for found in rejected[: max(0, _MOST_LOGGED - self.invalid)]:
            log.warning("Line %d is rejected: %s", found.line, found.reason)
        self.invalid += len(rejected)
        self._reject(rejected)

    async def _resolved(
        self, plan: Plan, place: int, ids: LookupIds, rows: list[PlannedRow], rejected: list[Rejected]
    ) -> list[PlannedRow]:
        """Replace the values of a lookup by ids; reject the rows whose value no row has, or several have."""
        given = [row for row in rows if row.values[place] not in (None, ...)]
        found = dict(zip((row.line for row in given), await ids.ids([row.values[place] for row in given]), strict=True))
        left = []
        for row in rows:
            matches = found.get(row.line)
            if matches is not None and len(matches) != 1:
                why = "several rows have this value" if matches else "no row has this value"
                rejected.append(Rejected(row.line, f"{plan.columns[place].name}: {why}"))
                continue
            if matches:
                row = row._replace(values=(*row.values[:place], matches[0], *row.values[place + 1 :]))
            left.append(row)
        return left

    def _reject(self, rejected: Sequence[tuple[int, str]]) -> None:
        if rejected and self._on_rejected:
            self._on_rejected([(line, reason) for line, reason in rejected])


@dataclass
class _Window:
    """A window of the list while it is written."""

    number: int
    new: list[Packed] = field(default_factory=list)
    changed: list[Write] = field(default_factory=list)
    outcomes: dict[bytes, str] = field(default_factory=dict)
    left: int = 0


class _Writing:
    """Writes the rows of a spool, window by window."""

    def __init__(
        self,
        client: DataverseClient,
        spec: UpsertSpec,
        plan: Plan,
        spool: Spool,
        progress: UpsertCheckpoint,
        on_rejected: OnRejected | None,
        on_ids: OnIds | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._client = client
        self._spec = spec
        self._plan = plan
        self._spool = spool
        self._progress = progress
        self._on_rejected = on_rejected
        self._on_ids = on_ids
        self._on_progress = on_progress
        self._existing = ExistingRows(client, plan)
        self._writer = Writer(client, plan, spec, self._existing, self._note, wants_ids=on_ids is not None)
        self._by_key = plan.alternate and spec.mode == "upsert"
        self._windows: dict[int, _Window] = {}
        self._counts: Counter[str] = Counter(progress.counts)
        self._resumed_from = sum(progress.counts.values())
        self._known = self._resumed_from
        self._stopped: CijStoppedError | None = None

    async def run(self, reading: _Reading) -> UpsertReport:
        jobs = self._jobs()
        async with aclosing(jobs):
            await for_each(jobs, self._send, self._client.recommended_concurrency)
        if self._stopped:
            raise self._stopped
        if self._too_many_failed():
            raise CijRefusedError(
                f"The service refused {self._counts[FAILED]:,} of {self._spool.count:,} rows, more than "
                f"{self._spec.max_failed}.",
                hint="rejects_path gives a file of them, with the reasons. Rows that were not refused are written.",
            )
        if (settled := sum(self._counts.values())) != self._spool.count:
            raise CijError(
                f"The outcome of {self._spool.count - settled:,} of {self._spool.count:,} rows is not known."
            )
        return UpsertReport(
            read=reading.read,
            invalid=reading.invalid,
            duplicate=reading.duplicate,
            **{name: self._counts[name] for name in (CREATED, UPDATED, UNCHANGED, NOT_FOUND, EXISTING, FAILED)},
            requests=self._writer.requests,
            resumed_from=self._resumed_from,
        )

    def _too_many_failed(self) -> bool:
        return not self._spec.max_failed.allows(self._counts[FAILED], self._spool.count)

    async def _send(self, job: Job) -> None:
        if self._stopped or self._too_many_failed():  # since the job was built
            return
        try:
            await self._writer.send(job)
        except CijStoppedError as error:
            # Raising here would cancel the requests in flight.
            self._stopped = error

    async def _jobs(self) -> AsyncGenerator[Job, None]:
        """Yield the write requests. The next window is looked up while the current one is looked up and written."""
        pieces = enumerate(self._spool.windows(WINDOW))
        following = self._start(next(pieces, None))
        try:
            while following:
                current, following = following, self._start(next(pieces, None))
                window = await current
                if not window.left:
                    self._end(window)
                for job in self._of(window):
                    if self._stopped or self._too_many_failed():
                        return
                    yield job
        finally:
            if following:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    def _of(self, window: _Window) -> Iterator[Job]:
        """Yield the write requests of a window. The bodies of new rows are built only then."""
        size, new = self._writer.batch_size, iter(window.new)
        verb = UPSERT if self._by_key else CREATE
        while rows := list(islice(new, size)):
            yield Job(verb, [self._creation(row) for row in rows], window.number)
        for start in range(0, len(window.changed), size):
            yield Job(UPDATE, window.changed[start : start + size], window.number)

    def _start(self, piece: tuple[int, list[Packed]] | None) -> asyncio.Task[_Window] | None:
        return asyncio.create_task(self._prepare(*piece)) if piece else None

    async def _prepare(self, number: int, rows: list[Packed]) -> _Window:
        """Look up the rows of a window, and decide what to write."""
        window = self._windows[number] = _Window(number)
        if number in self._progress.done and not self._on_ids:
            return window
        found = await self._existing.find(map(unpack, rows))
        if number in self._progress.done:
            for whole in map(self._unpacked, rows):
                self._report_ids(whole, [self._id_of(there) for there in found.rows.get(whole.key, ())])
            return window
        before = self._progress.intentions(number) or [""] * len(rows)
        outcomes = window.outcomes
        clashing = found.clashing if self._plan.alternate and self._spec.mode != "update_only" else ()
        for row, earlier in zip(rows, before, strict=True):
            key = key_of(row)
            if key in clashing:
                outcome = self._fail(unpack(row), "the service considers its key equal to that of another row")
            elif there := found.rows.get(key):
                outcome = self._decide(window, self._unpacked(row), there, earlier)
            elif self._spec.mode == "update_only":
                self._reject(unpack(row), "no row has its key")
                outcome = NOT_FOUND
            else:
                window.new.append(row)
                outcome = CREATED
            outcomes[key] = outcome
        window.left = len(window.new) + len(window.changed)
        if window.left:
            self._progress.begin(number, list(outcomes.values()))
        return window

    def _unpacked(self, row: Packed) -> PlannedRow:
        return self._plan.completed(unpack(row))

    def _creation(self, packed: Packed) -> Write:
        row = self._unpacked(packed)
        body = self._plan.creation(row, with_key=not self._by_key)
        return Write(row, "" if self._by_key else self._plan.new_id(row), body)

    def _decide(self, window: _Window, row: PlannedRow, there: Sequence[Mapping[str, Any]], earlier: str) -> str:
        """Decide what to write for a row that exists, and return the outcome that it is to have."""
        if self._spec.mode == "create_only":
            outcome = CREATED if earlier == CREATED else EXISTING
            self._report_ids(row, [self._id_of(each) for each in there])
            return outcome
        if len(there) > 1 and self._spec.on_multiple_matches == "refuse":
            return self._fail(row, f"{len(there):,} rows have its key")
        if self._spec.on_multiple_matches != "all":
            there = there[:1]
        changes = [self._plan.changes(row, each, changed_only=self._spec.skip_unchanged) for each in there]
        outcome = earlier if earlier in (CREATED, UPDATED) else UPDATED if any(changes) else UNCHANGED
        window.changed += [
            Write(row, self._id_of(each), body) for each, body in zip(there, changes, strict=True) if body
        ]
        self._report_ids(row, [self._id_of(each) for each, body in zip(there, changes, strict=True) if not body])
        return outcome

    def _fail(self, row: PlannedRow, reason: str) -> str:
        self._reject(row, reason)
        return FAILED

    def _note(self, number: int, done: int, results: Sequence[Result]) -> None:
        """Record the results of a request: the rows whose writes succeed have the outcomes that were intended."""
        window = self._windows[number]
        for row, ids, reason in results:
            if reason:
                window.outcomes[row.key] = self._fail(row, reason)
            self._report_ids(row, ids)
        window.left -= done
        self._known += done
        if self._on_progress:
            self._on_progress(min(self._known, self._spool.count), self._spool.count)
        if not window.left:
            self._end(window)

    def _end(self, window: _Window) -> None:
        counts = Counter(window.outcomes.values())
        if window.number not in self._progress.done:
            self._counts.update(counts)
            self._progress.end(window.number, counts)
        del self._windows[window.number]

    def _id_of(self, there: Mapping[str, Any]) -> str:
        return str(there.get(self._plan.table.id_column))

    def _report_ids(self, row: PlannedRow, ids: Sequence[str]) -> None:
        if ids and self._on_ids:
            key = self._plan.key_of(row)
            self._on_ids([(*([] if self._plan.by_id else key), row_id) for row_id in ids])

    def _reject(self, row: PlannedRow, reason: str) -> None:
        if self._on_rejected:
            self._on_rejected([(row.line, reason)])
