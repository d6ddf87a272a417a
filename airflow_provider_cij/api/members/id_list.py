"""A list of members, read whole and checked before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from airflow_provider_cij.api.bounds import Bound, bound_of
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.segments.models import MemberReport
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import CijInputError

log = logging.getLogger(__name__)

_REJECTS_SHOWN = 100
_RIGHT_COLUMN = "Is it the right column? Nothing was sent."

Chunk = tuple[Sequence[int], Sequence[object]]
"""Some rows: their line numbers, and what stands where an id (or what shall be matched) should."""


@dataclass(frozen=True)
class MemberIdList:
    """What a list came to: distinct ids, ready to send.

    :param ids: whom it names
    :param read: rows
    :param invalid: rows without an id, or without a value to match
    :param duplicate: rows whose id or value had been there before
    :param not_found: different values that match nobody
    """

    ids: IdSet
    read: int
    invalid: int
    duplicate: int
    not_found: int = 0

    def report(self, **others: int) -> MemberReport:
        """Report on the list, and on what was done with it."""
        return MemberReport(self.read, self.invalid, self.duplicate, self.not_found, **others)


class InvalidRows:
    """Counts the rows that can't be used, and names the first of them by their lines.

    :param max_invalid: a bound as ``bounds.bound_of`` reads it; a share is one of the rows read
    :param what: what such a row lacks
    :param early: True refuses the list as soon as a number of rows is exceeded, False only at its end
    """

    def __init__(self, max_invalid: object, what: str = "id", *, early: bool = True) -> None:
        self._bound = max_invalid if isinstance(max_invalid, Bound) else bound_of("max_invalid", max_invalid)
        self._what = what
        self._early = early and not self._bound.needs_total
        self._lines: list[int] = []
        self.count = 0

    def add(self, lines: Sequence[int], values: Sequence[object], bad: Iterable[int], read: int) -> None:
        """Take note.

        :param lines: the lines of some rows
        :param values: what stands in them
        :param bad: the positions of those that can't be used
        :param read: how many rows have been read so far
        :raises CijInputError: there are more than the bound, and it is a number of rows
        """
        for position in bad:
            self.count += 1
            if len(self._lines) < _REJECTS_SHOWN:
                self._lines.append(lines[position])
                # The value itself may be somebody's address: it stays out of the log.
                log.warning(
                    "Line %d holds no %s: %s", lines[position], self._what, _looks(values[position], self._what)
                )
        if self._early:
            self._check(read, "first ")

    def close(self, read: int) -> None:
        """Log how many more there were than have been named."""
        if self.count > len(self._lines):
            log.warning("%d more lines hold no %s", self.count - len(self._lines), self._what)

    def check(self, read: int) -> None:
        """Refuse the list at its end.

        :param read: how many rows it has
        :raises CijInputError: not one row can be used, or more than the bound can't
        """
        if self.count and self.count == read:
            raise CijInputError(f"None of the {read} rows holds any {self._what}.", hint=_RIGHT_COLUMN)
        self._check(read)

    def _check(self, read: int, first: str = "") -> None:
        if self._bound.allows(self.count, read):
            return
        if self.count == read:
            said = f"None of the {first}{read} rows holds any {self._what}, more than {self._bound}."
            raise CijInputError(said, hint=_RIGHT_COLUMN)
        raise CijInputError(
            f"{self.count} of the {first}{read} rows hold no {self._what}, more than {self._bound}.",
            hint=f"The first are on lines {', '.join(map(str, self._lines[:20]))}. Nothing was sent.",
        )


async def read_member_ids(chunks: AsyncIterator[Chunk], max_invalid: object = None) -> MemberIdList:
    """Read a whole list of ids.

    :param chunks: the rows
    :param max_invalid: how many rows may hold no id: a bound as ``bounds.bound_of`` reads it
    :raises CijInputError: too many rows hold no id, or none does
    """
    ids, rejects, read = IdSet(), InvalidRows(max_invalid), 0
    async for lines, values in chunks:
        keys, bad = pack_guids(values)
        ids.update(keys)
        read += len(values)
        rejects.add(lines, values, bad, read)
    rejects.close(read)
    rejects.check(read)
    return MemberIdList(ids, read, rejects.count, read - rejects.count - len(ids))


def _looks(value: object, wanted: str) -> str:
    text = "" if value is None else str(value).strip()
    if not text:
        return "it is empty"
    if "@" in text and wanted == "id":
        return "it looks like an e-mail address"
    return f"{len(text)} characters that are no {wanted}"
