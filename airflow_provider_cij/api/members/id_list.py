"""Read a list of members whole, and check it before anything is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from airflow_provider_cij._lines import cleaned
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.dataverse.values import text_of_value, trimmed
from airflow_provider_cij.errors import CijInputError

log = logging.getLogger(__name__)

_MOST_LOGGED = 100
_RIGHT_COLUMN = "Is it the right column? Nothing was sent."

OnReject = Callable[[Sequence[tuple[int, str, str]]], None]
"""Called with line, reason and value of rows that are not used. The values may be personal data: never log them."""
OnEnd = Callable[[], Awaitable[None]]
"""Awaited when all of a list has been read and looked up."""

Chunk = tuple[Sequence[int], Sequence[object]]
"""Some rows of a source: their line numbers, and the values of the column that holds the ids or what is matched."""


@dataclass(frozen=True)
class MemberReport:
    """What was done with a list of members; ``read`` = ``invalid`` + ``duplicate`` + the distinct ids."""

    read: int = 0
    invalid: int = 0
    duplicate: int = 0
    not_found: int = 0
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    batches: int = 0
    resumed_from: int = 0
    opted_out: int | None = None
    """How many were left out because they have opted out; None when consent was not required. The next three too."""
    not_set: int | None = None
    """How many were left out because they have not opted in, where the purpose's enforcement wants that."""
    unknown: int | None = None
    """How many were left out because it is not known whether they may be mailed."""
    no_address: int | None = None
    """How many were left out because they have no address."""

    def as_dict(self) -> dict[str, int]:
        """Return plain JSON, for XCom."""
        return {name: count for name, count in asdict(self).items() if count is not None}


@dataclass(frozen=True)
class MemberIdList:
    """The distinct ids of a list, ready to send, and the counts of its rows.

    :param ids: the distinct ids
    :param read: the number of rows
    :param invalid: the number of rows without an id, or without a value to match
    :param duplicate: the number of rows whose id or value an earlier row holds
    :param not_found: the number of different values that match nobody; default 0
    :param invalid_lines: the lines of the first 100 invalid rows; default none
    """

    ids: IdSet
    read: int
    invalid: int
    duplicate: int
    not_found: int = 0
    invalid_lines: Sequence[int] = ()

    def report(self, **others: int) -> MemberReport:
        """Return the report on the list and on what was done with it.

        :param others: the other counts of ``MemberReport``, by name
        """
        return MemberReport(self.read, self.invalid, self.duplicate, self.not_found, **others)


class InvalidRows:
    """Counts the invalid rows of a list, and logs the first 100 by their lines, never by their values.

    A row whose value is None, where a file or a database itself says that there is none, is counted, and is no mistake:
    the bound is one of the others.

    :param max_invalid: how many rows may be invalid: a bound as ``bounds.bound_of`` reads it; a share is of the rows
        read
    :param what: what an invalid row lacks, for the log; default ``id``
    :param early: True (default) refuses the list as soon as a number of rows is exceeded, False only at its end
    :param on_reject: called with the invalid rows; default None
    """

    def __init__(
        self, max_invalid: object, what: str = "id", *, early: bool = True, on_reject: OnReject | None = None
    ) -> None:
        self._bound = bound_of("max_invalid", max_invalid)
        self._what = what
        self._early = early and not self._bound.needs_total
        self._on_reject = on_reject
        self.lines: list[int] = []
        self._bounded = 0
        self.count = 0

    def add(self, lines: Sequence[int], values: Sequence[object], bad: Iterable[int], read: int) -> None:
        """Count and log the invalid ones of some rows.

        :param lines: the rows' line numbers
        :param values: the rows' values
        :param bad: the positions of the invalid ones among them
        :param read: the number of rows read so far, these included
        :raises CijInputError: there are more than the bound, and it is a number of rows
        """
        rejected: list[tuple[int, str, str]] = []
        for position in bad:
            self.count += 1
            self._bounded += values[position] is not None
            logged = len(self.lines) < _MOST_LOGGED
            if not logged and not self._on_reject:
                continue
            line, value = lines[position], cleaned(text_of_value(values[position]))
            reason = _reason(trimmed(value), self._what)
            rejected.append((line, reason, value))
            if logged:
                self.lines.append(line)
                # The value itself may be a person's address: it stays out of the log.
                log.warning("Line %d holds no %s: %s", line, self._what, reason)
        if rejected and self._on_reject:
            self._on_reject(rejected)
        if self._early:
            self._check(read, "first ")

    def close(self) -> None:
        """Log how many invalid rows were not logged one by one."""
        if self.count > len(self.lines):
            log.warning("%s more lines hold no %s", f"{self.count - len(self.lines):,}", self._what)

    def check(self, read: int) -> None:
        """Check the list at its end.

        :param read: the number of its rows
        :raises CijInputError: every row is invalid, or more than the bound are
        """
        if self.count and self.count == read:
            raise CijInputError(f"None of the {read:,} rows holds any {self._what}.", hint=_RIGHT_COLUMN)
        self._check(read)

    def _check(self, read: int, first: str = "") -> None:
        if self._bound.allows(self._bounded, read):
            return
        if self.count == read:
            message = f"None of the {first}{read:,} rows holds any {self._what}, more than {self._bound}."
            raise CijInputError(message, hint=_RIGHT_COLUMN)
        more = "" if self._on_reject else " rejects_path gives a file of them."
        raise CijInputError(
            f"{self._bounded:,} of the {first}{read:,} rows hold no {self._what}, more than {self._bound}.",
            hint=f"The first are on lines {', '.join(map(str, self.lines[:20]))}. Nothing was sent.{more}",
        )


async def read_member_ids(
    chunks: AsyncIterator[Chunk],
    max_invalid: object = None,
    on_reject: OnReject | None = None,
    on_end: OnEnd | None = None,
) -> MemberIdList:
    """Read a list of ids to its end.

    :param chunks: the rows
    :param max_invalid: how many rows may hold no id: a bound as ``bounds.bound_of`` reads it; a share is of the rows
        read. Default None, any number
    :param on_reject: called with the rows that hold no id. Default None
    :param on_end: awaited when all rows have been read, before the bound refuses the list: the place to finish a file
        of ``on_reject``. With it, the bound does not refuse the list before its end. Default None
    :raises CijInputError: more rows than the bound hold no id, or all of them
    """
    ids, read = IdSet(), 0
    invalid = InvalidRows(max_invalid, early=on_end is None, on_reject=on_reject)
    async for lines, values in chunks:
        keys, bad = pack_guids(values)
        ids.update(keys)
        read += len(values)
        invalid.add(lines, values, bad, read)
        await asyncio.sleep(0)  # requests go on meanwhile
    invalid.close()
    if on_end:
        await on_end()
    invalid.check(read)
    return MemberIdList(ids, read, invalid.count, read - invalid.count - len(ids), invalid_lines=invalid.lines)


def _reason(text: str, wanted: str) -> str:
    if not text:
        return "it is empty"
    if "@" in text and wanted == "id":
        return "it looks like an e-mail address"
    return f"{len(text):,} characters that are no {wanted}"
