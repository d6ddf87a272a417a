"""What adding, removing and mirroring have in common: the list, from its source to distinct ids."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import failing_for_good, log_group
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable, writing
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._cursor import Cursor
from airflow_provider_cij.sources import Source, as_source, checked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.groups import MemberGroup
    from airflow_provider_cij.api.idset import IdSet
    from airflow_provider_cij.api.intake import Intake
    from airflow_provider_cij.api.members import Resume
    from airflow_provider_cij.api.models import MemberReport, Segment
    from airflow_provider_cij.hooks.cij import Cij


class MemberListOperator(CijOperator):
    """Does something to static groups with a list of people."""

    template_fields: Sequence[str] = ("segment_id", "group", "members", "match_on", "not_found_path")
    # FromSql("audience.sql", …) is the file of this name.
    template_ext: Sequence[str] = (".sql",)
    operator_extra_links = (CijSegmentLink(),)

    def __init__(
        self,
        *,
        segment_id: str,
        group: str | Sequence[str],
        members: Iterable[object] | Source,
        match_on: str | None = None,
        max_invalid: int | None = None,
        not_found_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.group = group
        self.members = members
        self.match_on = match_on
        self.max_invalid = max_invalid
        self.not_found_path = not_found_path

    @property
    def members(self) -> Any:
        """Where members come from."""
        return self._members

    @members.setter
    def members(self, members: Any) -> None:
        # A bare list would be rendered id by id, and shown in the UI: ids of people.
        self._members = as_source(members)

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake, cursor: Cursor
    ) -> dict[str, int]:
        """Do it; give the counts of the report that the list does not give."""
        raise NotImplementedError

    def _check(self, intake: Intake, groups: int) -> None:
        """Refuse a list for what it is, before the service is asked anything about it."""
        if not intake.read:
            self.log.warning("There is not a single row: nobody will be added or removed")

    def execute(self, context: Context) -> dict[str, int]:
        """Read the list to its end, then change the groups."""
        with failing_for_good():
            source = checked(self.members)
            names = [self.group] if isinstance(self.group, str) else list(self.group or ())
            if not names or not all(isinstance(name, str) and name for name in names):
                raise CijInputError(f"group is {self.group!r}.", hint="Give a group's name or id, or a list of them.")
            if self.max_invalid is not None and (not isinstance(self.max_invalid, int) or self.max_invalid < 0):
                raise CijInputError(f"max_invalid is {self.max_invalid!r}.", hint="Give a number from 0 on, or None.")
            if self.not_found_path is not None:
                if not self.match_on:
                    raise CijInputError("not_found_path is given without match_on: ids are not looked up.")
                check_writable(str(self.not_found_path))

        cursor = Cursor(context, self.log)

        async def work(cij: Cij) -> MemberReport:
            segment = None
            if self.match_on:  # the table to look in is the segment's
                segment = await self._segment(cij, context)
            intake = await self._intake(cij, source, segment)
            self._check(intake, len(names))
            segment = segment or await self._segment(cij, context)
            groups = [await cij.segments.group(segment, name) for name in names]
            self.log.info("Segment %r", segment.display_name)
            return intake.report(**await self._change(cij, segment, groups, intake, cursor))

        report = self.call(work)
        cursor.forget()
        self.log.info("%s", ", ".join(f"{name} {count}" for name, count in report.as_dict().items()))
        return report.as_dict()

    async def _segment(self, cij: Cij, context: Context) -> Segment:
        segment = await cij.segments.get(self.segment_id)
        CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id), segment.display_name)
        return segment

    async def _intake(self, cij: Cij, source: Source, segment: Segment | None) -> Intake:
        from airflow_provider_cij.api.intake import take_in
        from airflow_provider_cij.api.matching import match

        with log_group(self.log, f"Read members from {source!r}"), ExitStack() as files:
            chunks = source.chunks(cij.dataverse)
            if segment is None or not self.match_on:
                intake = await take_in(chunks, self.max_invalid)
            else:
                not_found = None
                if self.not_found_path is not None:
                    not_found = files.enter_context(writing(str(self.not_found_path), ("line", self.match_on)))
                intake = await match(
                    cij.dataverse,
                    chunks,
                    table=segment.base_table or "contact",
                    column=self.match_on,
                    max_invalid=self.max_invalid,
                    on_not_found=not_found.write if not_found else None,
                    on_progress=_Looking(self.log),
                )
            said = "%d rows: %d different ids, %d duplicates, %d that can't be used, %d not found"
            self.log.info(said, intake.read, len(intake.ids), intake.duplicate, intake.invalid, intake.not_found)
        return intake


def resume(cursor: Cursor, ids: IdSet, *job: str) -> Resume:
    """Find out where an earlier try of the same job with the same ids got to."""
    from airflow_provider_cij.api.members import Resume

    return Resume(cursor.resume(" ".join([*job, ids.digest()])), cursor.note)


def named(groups: Sequence[MemberGroup]) -> str:
    """Name some groups."""
    return ", ".join(repr(group.name) for group in groups)


class Progress:
    """Logs a batch a second, and the last one."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._started = self._logged = time.monotonic()

    def __call__(self, done: int, total: int, sent: int) -> None:
        now = time.monotonic()
        if done < total and now - self._logged < 1 and done > 1:
            return
        self._logged = now
        rate = sent / max(now - self._started, 0.001)
        self._log.info("Batch %d of %d: %d members sent, %.0f a second", done, total, sent, rate)


class _Looking:
    """Logs a query a second."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._logged = time.monotonic()

    def __call__(self, queries: int, asked: int, matched: int) -> None:
        if (now := time.monotonic()) - self._logged >= 1:
            self._logged = now
            self._log.info("%d queries: %d values asked for, %d matched", queries, asked, matched)
