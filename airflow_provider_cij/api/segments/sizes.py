"""How many members a segment may have, so that a broken query does not mail everybody. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.segments.models import Execution, ExecutionStatus, Segment, SegmentStatus
from airflow_provider_cij.errors import CijInputError, CijMemberCountError


@dataclass(frozen=True)
class SizeLimits:
    """The limits of a segment's member count, checked by ``limits_of``.

    :param max_members: the most members; None for any number
    :param max_change: how far the count may be from ``count_before``: members, or a share such as ``"20%"``; None for
        any number
    :param count_before: the count of the evaluation before; None when it is to be read from the log of evaluations
    :param first: True when there was no evaluation before, so that there is nothing to compare with
    """

    max_members: int | None = None
    max_change: Any = None
    count_before: int | None = None
    first: bool = False

    @property
    def needs_count(self) -> bool:
        """True when a segment without a member count can't be judged yet."""
        return self.max_members is not None or (self.max_change is not None and not self.first)

    @property
    def looks_back(self) -> bool:
        """True when the count of the evaluation before has to be read yet."""
        return self.max_change is not None and self.count_before is None and not self.first

    def since(self, before: Segment) -> SizeLimits:
        """Return the limits with the count that a segment has before it is evaluated again.

        :param before: the segment; a draft has never been evaluated
        """
        count = None if before.status == SegmentStatus.DRAFT else before.member_count
        return replace(self, count_before=count, first=count is None)

    def after(self, runs: Sequence[Execution]) -> SizeLimits:
        """Return the limits with the count of the evaluation before the newest.

        :param runs: the segment's evaluations, the newest first
        """
        counts = [run.member_count for run in runs if run.status == ExecutionStatus.SUCCEEDED]
        known = counts[1] if len(counts) > 1 else None
        return replace(self, count_before=known, first=known is None)

    def check(self, segment: Segment, evaluated: Execution | None = None) -> None:
        """Check that a segment has no more members than it may have.

        :param segment: the segment, with the count of its last evaluation
        :param evaluated: the evaluation itself, if it was read: the count of the row may come later
        :raises CijMemberCountError: with both counts
        """
        for count in {segment.member_count, evaluated.member_count if evaluated else None} - {None}:
            self._check(f"Segment {segment.display_name!r} ({segment.segment_id})", count or 0)

    def _check(self, name: str, count: int) -> None:
        hint = "Check its query and its groups before a journey uses it; if the count is right, allow more."
        if self.max_members is not None and count > self.max_members:
            raise CijMemberCountError(
                f"{name} has {count:,} members, more than max_members={self.max_members:,}.", hint=hint
            )
        if self.max_change is None or self.count_before is None:
            return
        bound, change = bound_of("max_change", self.max_change, above_100_percent=True), count - self.count_before
        if not bound.allows(abs(change), self.count_before):
            raise CijMemberCountError(
                f"{name} has {count:,} members after {self.count_before:,} in the evaluation before, a change of "
                f"{change:+,}, more than {bound}.",
                hint=hint,
            )


def limits_of(max_members: Any = None, max_change: Any = None) -> SizeLimits:
    """Check the limits that a user gave.

    :param max_members: a whole number from 0 on, or a text of one; None for any number
    :param max_change: a bound (``api.bounds``); above 100 % is possible
    :raises CijInputError: one of them is no limit
    """
    bound_of("max_change", max_change, above_100_percent=True)
    return SizeLimits(count_of("max_members", max_members), max_change)


def count_of(name: str, value: Any, least: int = 0) -> int | None:
    """Read a number of members that a user gave.

    :param name: the argument's name, for the error
    :param value: a whole number, or a text that a template has rendered; None for none
    :param least: the smallest number
    :raises CijInputError: it is none
    """
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else value
    number = int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19 else text
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise CijInputError(f"{name} is {value!r}.", hint=f"Give a number from {least} on.")
    return number
