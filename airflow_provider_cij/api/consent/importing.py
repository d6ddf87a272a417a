"""Import consent from a source: read it whole, find the addresses, write what differs."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.bounds import Bound
from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.consent.bulk import OUTCOMES, ConsentImport
from airflow_provider_cij.api.consent.consent_to import Channel, ConsentTo
from airflow_provider_cij.api.consent.import_plan import IF_SOURCE_NEWER, KEPT_NEWER, Statement
from airflow_provider_cij.api.consent.private import private
from airflow_provider_cij.api.consent.reading import address_key
from airflow_provider_cij.api.consent.rules import ConsentValue
from airflow_provider_cij.api.consent.statements import (
    CLOCK_SKEW,
    Columns,
    OnRejected,
    Statements,
    address_of,
    check_address,
    may_opt_out,
    statement_of,
)
from airflow_provider_cij.api.consent.target import recipient_column, resolve
from airflow_provider_cij.api.members.match import TABLES
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import in_filters, query
from airflow_provider_cij.dataverse.values import text_of_value, trimmed
from airflow_provider_cij.errors import CijError, CijInputError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

# So many addresses are read by one request, and their rows written by a few.
_A_BATCH = 400
_MOST_LOGGED = 100


@dataclass(frozen=True)
class ImportSpec:
    """How a source is read and written.

    :param to: the purpose or topic, and the channel
    :param columns: which columns hold what
    :param value: the consent of all rows; default None, a column holds it
    :param reason: the reason of rows without one; default empty
    :param overwrite: ``if_source_newer`` (default), ``always`` or ``never``
    :param match_on: the column of the contact or lead in which the values of the address column are looked up; default
        None, they are addresses
    :param table: ``contact`` (default) or ``lead``
    :param dry_run: True only plans and counts; default False
    """

    to: ConsentTo
    columns: Columns
    value: ConsentValue | None = None
    reason: str = ""
    overwrite: str = IF_SOURCE_NEWER
    match_on: str | None = None
    table: str = "contact"
    dry_run: bool = False


@dataclass(frozen=True)
class ImportReport:
    """What became of the rows of a source.

    ``read`` = ``invalid`` + ``duplicate`` + the rest, of which each is counted once where rows hold addresses.
    ``kept_newer`` also counts opt-ins of addresses of which an unusable row may be an opt-out.
    """

    read: int = 0
    invalid: int = 0
    duplicate: int = 0
    not_found: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    kept_newer: int = 0
    failed: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return plain JSON, for XCom."""
        return asdict(self)


async def import_consent(
    client: DataverseClient,
    rows: AsyncIterator[tuple[Sequence[int], Sequence[Mapping[str, object]]]],
    spec: ImportSpec,
    *,
    max_invalid: Bound,
    max_not_found: Bound,
    on_rejected: OnRejected | None = None,
) -> ImportReport:
    """Import consent. Idempotent: a repeat finds what was written, and writes the rest.

    :param client: an open client; its ``max_concurrency`` is the number of batches at once
    :param rows: the rows of the source, in chunks with their lines
    :param spec: how they are read and written
    :param max_invalid: how many rows may be unusable
    :param max_not_found: how many values of ``match_on`` may find nobody with an address
    :param on_rejected: called with lines that were not used, and why. Default None
    :return: the counts
    :raises CijInputError: more rows than the bounds allow are unusable, before anything is written; or there is no such
        purpose, topic or column
    :raises CijError: the service is not there, or refuses everything; the error holds no address
    """
    target = await resolve(client, spec.to)
    column = await recipient_column(client, spec.to, spec.table) if spec.match_on else ""
    now = datetime.fromtimestamp(time.time() + client.service_ahead, UTC)  # its clock is known by its replies
    source = _Source(spec, target.channel, now, on_rejected)
    with Statements() as read, Statements() as found:
        async for lines, chunk in rows:
            read.add(list(source.statements(lines, chunk)))
            read.doubt(source.doubts)
            source.doubts.clear()
        source.check(max_invalid)
        duplicate = source.read - source.invalid - len(read)
        not_found, statements = 0, read
        if spec.match_on:
            not_found, statements = await _matched(client, read, spec, column, found, on_rejected), found
            if not max_not_found.allows(not_found, source.read):
                raise CijInputError(
                    f"{not_found:,} values of {source.read:,} rows find nobody with an address, "
                    f"more than {max_not_found}.",
                    hint="rejects_path gives a file of their lines. Nothing was sent.",
                )
        kept = statements.drop_doubtful()
        _tell_kept(kept, on_rejected)
        log.info("Checked %s rows: %s addresses", f"{source.read:,}", f"{len(statements):,}")
        work = ConsentImport(client, target, spec.overwrite, dry_run=spec.dry_run, on_failed=on_rejected)

        async def write(batch: list[Statement]) -> None:
            await work.write([_no_later(statement, now - CLOCK_SKEW) for statement in batch])

        await for_each(statements.batches(_A_BATCH), write, client.settings.max_concurrency)
    work.counts[KEPT_NEWER] += len(kept)
    counts = {outcome: work.counts[outcome] for outcome in OUTCOMES}
    return ImportReport(source.read, source.invalid, duplicate, not_found, **counts)


class _Source:
    """Turns rows into statements, and counts and logs those that can't be used."""

    def __init__(self, spec: ImportSpec, channel: Channel, now: datetime, on_rejected: OnRejected | None) -> None:
        self._spec = spec
        self._channel = channel
        self._now = now
        self._on_rejected = on_rejected
        self.read = self.invalid = 0
        self.doubts: list[str] = []

    def statements(self, lines: Sequence[int], rows: Sequence[Mapping[str, object]]) -> Iterator[Statement]:
        """Yield what the usable rows say. Addresses of others, which may be opt-outs, are added to ``doubts``."""
        spec = self._spec
        for line, row in zip(lines, rows, strict=True):
            self.read += 1
            try:
                statement = statement_of(row, line, spec.columns, value=spec.value, reason=spec.reason, now=self._now)
                statement = replace(statement, address=self._checked(statement.address))
            except CijInputError as error:
                self._reject(line, _without_value(error))
                self._doubt(row)
            else:
                yield statement

    def _checked(self, address: str) -> str:
        """Return an address, or a value that finds people, as it is looked up."""
        if self._spec.match_on == f"{self._spec.table}id":
            return normalize_guid(address, self._spec.columns.address)
        if not self._spec.match_on:
            check_address(address, self._channel)
        return address

    def _doubt(self, row: Mapping[str, object]) -> None:
        try:
            address = self._checked(address_of(row, self._spec.columns))
        except CijInputError:
            return  # no opt-in can have it either
        if may_opt_out(row, self._spec.columns, self._spec.value):
            self.doubts.append(address)

    def _reject(self, line: int, reason: str) -> None:
        self.invalid += 1
        if self.invalid <= _MOST_LOGGED:
            log.warning("Line %d can't be used: %s", line, reason)
        if self._on_rejected:
            self._on_rejected([(line, reason)])

    def check(self, bound: Bound) -> None:
        """Check the number of unusable rows."""
        if self.invalid > _MOST_LOGGED:
            log.warning("%s more lines can't be used", f"{self.invalid - _MOST_LOGGED:,}")
        if self.invalid and (self.invalid == self.read or not bound.allows(self.invalid, self.read)):
            raise CijInputError(
                f"{self.invalid:,} of {self.read:,} rows can't be used, more than {bound}.",
                hint="The log has the lines, and rejects_path gives a file of them. Nothing was sent.",
            )


def _no_later(statement: Statement, latest: datetime) -> Statement:
    """Return an opt-in as given at a moment at the latest: a source's clock that is ahead must not beat a "no"."""
    if statement.value is ConsentValue.OPTED_IN and statement.given_at and statement.given_at > latest:
        return replace(statement, given_at=latest)
    return statement


def _tell_kept(lines: Sequence[int], on_rejected: OnRejected | None) -> None:
    """Log and report opt-ins that are not written for an unusable row of the same address."""
    reason = "another line of its address can't be used, and may be an opt-out"
    for line in lines[:_MOST_LOGGED]:
        log.warning("Line %d, an opt-in, is not written: %s", line, reason)
    if len(lines) > _MOST_LOGGED:
        log.warning("%s more opt-ins are not written", f"{len(lines) - _MOST_LOGGED:,}")
    if lines and on_rejected:
        on_rejected([(line, reason) for line in lines])


def _without_value(error: CijInputError) -> str:
    """Return what is wrong; a GUID that is none may be anything, so it is not repeated."""
    return "it holds no id" if "GUID" in error.message else str(error)


async def _matched(
    client: DataverseClient,
    read: Statements,
    spec: ImportSpec,
    column: str,
    found: Statements,
    on_rejected: OnRejected | None,
) -> int:
    """Find the addresses of people by another column, and return how many values find nobody with an address."""
    entity_set, match_on, missing = TABLES[spec.table][0], str(spec.match_on), 0

    async def addresses_of(values: Sequence[str]) -> list[tuple[str, str]]:
        """Return the key of each value that finds an address, and the address."""
        people = []
        for where in in_filters(match_on, values):
            path = query(entity_set, select=dict.fromkeys((match_on, column)), where=where)
            rows = await private(f"GET {entity_set} by {match_on}", _people(client, path))
            people += [(address_key(row.get(match_on)), text_of_value(row.get(column))) for row in rows]
        return [(key, address) for key, address in people if trimmed(address)]

    async def doubt(values: list[str]) -> None:
        found.doubt([address for _, address in await addresses_of(values)])

    async def work(batch: list[Statement]) -> None:
        nonlocal missing
        wanted = {address_key(statement.address): statement for statement in batch}
        there: set[str] = set()
        for key, address in await addresses_of([statement.address for statement in batch]):
            if key in wanted:
                there.add(key)
                found.add([replace(wanted[key], address=trimmed(address), spelled=address)])
        lost = [statement for key, statement in wanted.items() if key not in there]
        missing += len(lost)
        if lost and on_rejected:
            on_rejected([(statement.line, f"{match_on} finds nobody with {column}") for statement in lost])

    await for_each(read.doubts(_A_BATCH), doubt, client.settings.max_concurrency)
    await for_each(read.batches(_A_BATCH), work, client.settings.max_concurrency)
    return missing


async def _people(client: DataverseClient, path: str) -> list[dict[str, Any]]:
    try:
        return await client.all_rows(path)
    except CijError as error:
        error.hint = error.hint or "Are match_on and the recipient column columns of the table?"
        raise
