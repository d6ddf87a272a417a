"""What adding, removing and mirroring have in common: the list, from its source to distinct ids."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._arguments import one_of, row_ids
from airflow_provider_cij._base import CijOperator, log_group, permanent_failures
from airflow_provider_cij.api.bounds import Bound, bound_of
from airflow_provider_cij.api.consent.rules import ConsentTo
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable, outside, writing
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._cursor import Cursor
from airflow_provider_cij.sources import Source, as_source, checked
from airflow_provider_cij.version_compat import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.members.id_list import MemberIdList
    from airflow_provider_cij.api.members.id_set import IdSet
    from airflow_provider_cij.api.members.upload import UploadCheckpoint
    from airflow_provider_cij.api.segments.models import MemberGroup, MemberReport, Segment


LIST_FIELDS = ("members", "match_on", "max_invalid", "max_not_found", "on_empty", "not_found_path")
"""The templated fields of a task that takes a list."""


class MembersArgument(CijOperator):
    """A task with ``members``."""

    @property
    def members(self) -> Any:
        """Where members come from."""
        return self._members

    @members.setter
    def members(self, members: Any) -> None:
        # A bare list would be rendered id by id, and a text with the ids that it renders to, and shown in the UI.
        self._members = as_source(members)


class MemberListOperator(MembersArgument):
    """Does something to static groups with a list of people."""

    template_fields: Sequence[str] = ("segment_id", "group", *LIST_FIELDS)
    # FromSql("audience.sql", …) is the file of this name.
    template_ext: Sequence[str] = (".sql",)
    operator_extra_links = (CijSegmentLink(),)

    # Of those that fill a group: whom to leave out.
    require_consent: bool | ConsentTo = False

    def __init__(
        self,
        *,
        segment_id: str,
        group: str | Sequence[str],
        members: Iterable[object] | Source,
        match_on: str | None = None,
        max_invalid: int | float | str | None = 0,
        max_not_found: int | float | str | None = 0,
        on_empty: str = "fail",
        not_found_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.group = group
        self.members = members
        self.match_on = match_on
        self.max_invalid = max_invalid
        self.max_not_found = max_not_found
        self.on_empty = on_empty
        self.not_found_path = not_found_path

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: MemberIdList, cursor: Cursor
    ) -> dict[str, int]:
        """Do it; give the counts of the report that the list does not give."""
        raise NotImplementedError

    def _check_arguments(self) -> None:
        """Refuse arguments that can't be right, after rendering and before the first request."""
        names = self._group_names()
        if not names or not all(isinstance(name, str) and name for name in names):
            raise CijInputError(f"group is {self.group!r}.", hint="Give a group's name or id, or a list of them.")
        row_ids(segment_id=self.segment_id)
        rules_of(self)

    def _group_names(self) -> list[str]:
        several = isinstance(self.group, Iterable) and not isinstance(self.group, (str, bytes, Mapping))
        return list(self.group) if several else [self.group] if self.group else []  # type: ignore[list-item]

    def _check(self, intake: MemberIdList, groups: int) -> None:
        """Refuse a list for what it is, before the groups are looked up."""

    def execute(self, context: Context) -> dict[str, int]:
        """Read the list to its end, then change the groups."""
        with permanent_failures():
            source = checked(self.members)
            self._check_arguments()
            names = self._group_names()

        cursor = Cursor(context, self.log)

        async def work(cij: Cij) -> MemberReport:
            segment = None
            if self.match_on or self.require_consent:  # the table to look in is the segment's
                segment = await self._segment(cij, context)
            intake = await read_list(self, cij, source, (segment and segment.base_table) or "contact")
            opted_out = None
            if segment and self.require_consent:
                intake, opted_out = await self._with_consent(cij, intake, segment.base_table or "contact")
            self._check(intake, len(names))
            segment = segment or await self._segment(cij, context)
            groups = [await cij.segments.group(segment, name) for name in names]
            self.log.info("Segment %r", segment.display_name)
            report = intake.report(**await self._change(cij, segment, groups, intake, cursor))
            return replace(report, opted_out=opted_out)

        report = self.call(work)
        cursor.forget()
        self.log.info("%s", ", ".join(f"{name} {count}" for name, count in report.as_dict().items()))
        return report.as_dict()

    async def _with_consent(self, cij: Cij, intake: MemberIdList, table: str) -> tuple[MemberIdList, int]:
        from airflow_provider_cij.api.consent.client import opted_out

        to = ConsentTo() if self.require_consent is True else self.require_consent
        if not isinstance(to, ConsentTo):
            raise CijInputError(f"require_consent is {to!r}.", hint="Give True, or ConsentTo(purpose_id=…).")
        out = await opted_out(cij.dataverse, intake.ids, table, to)
        self.log.info("%d of %d have opted out and are left out", len(out), len(intake.ids))
        return replace(intake, ids=intake.ids.minus(out)), len(out)

    async def _segment(self, cij: Cij, context: Context) -> Segment:
        segment = await cij.segments.get(self.segment_id)
        CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id), segment.display_name)
        return segment


@dataclass(frozen=True)
class ListRules:
    """What a task accepts of its list.

    :param max_invalid: how many rows may hold no id, or no value to match
    :param max_not_found: how many different values may match nobody
    :param on_empty: ``fail``, ``skip`` or ``ok``: what a list without a row does to the task
    """

    max_invalid: Bound
    max_not_found: Bound
    on_empty: str

    def check_empty(self, read: int) -> None:
        """Fail or skip the task when the list has no row.

        :param read: how many rows there are
        :raises CijInputError: ``on_empty`` is ``fail``
        :raises AirflowSkipException: ``on_empty`` is ``skip``
        """
        if read or self.on_empty == "ok":
            return
        if self.on_empty == "skip":
            raise AirflowSkipException("The list has no row. Nothing was sent.")
        raise CijInputError("The list has no row.", hint="on_empty='skip' or 'ok' allows that. Nothing was sent.")


def rules_of(task: Any) -> ListRules:
    """Read and check the arguments of a task that takes a list.

    :param task: has ``match_on``, ``max_invalid``, ``max_not_found``, ``on_empty`` and ``not_found_path``
    :raises CijInputError: one of them can't be right; the error names it
    """
    if task.match_on is not None and not isinstance(task.match_on, str):
        raise CijInputError(f"match_on is a {type(task.match_on).__name__}.", hint="Give a column's logical name.")
    if task.not_found_path is not None:
        if not task.match_on:
            raise CijInputError("not_found_path is given without match_on: ids are not looked up.")
        check_writable(str(task.not_found_path))
    return ListRules(
        bound_of("max_invalid", task.max_invalid),
        bound_of("max_not_found", task.max_not_found),
        checked_on_empty(task.on_empty),
    )


def checked_on_empty(on_empty: object) -> str:
    """Return ``on_empty`` when it is a known word.

    :raises CijInputError: it is none
    """
    return one_of("on_empty", on_empty, "fail", "skip", "ok")


async def read_list(task: Any, cij: Cij, source: Source, table: str) -> MemberIdList:
    """Read a list to its end, and look its values up if the task has ``match_on``.

    :param task: has what ``rules_of`` reads
    :param cij: open
    :param source: the list
    :param table: to look in, ``contact`` or ``lead``
    :raises CijInputError: the list has no row, or is beyond a bound; ``not_found_path`` is written before that
    :raises AirflowSkipException: the list has no row, and ``on_empty`` is ``skip``
    """
    from airflow_provider_cij.api.members.id_list import read_member_ids
    from airflow_provider_cij.api.members.match import match

    rules = rules_of(task)
    with log_group(task.log, f"Read members from {source!r}"):
        chunks = source.chunks(cij.dataverse)
        if not task.match_on:
            intake = await read_member_ids(chunks, rules.max_invalid)
        else:
            async with AsyncExitStack() as files:
                not_found = None
                if task.not_found_path is not None:
                    file = outside(writing(str(task.not_found_path), ("line", task.match_on)))
                    not_found = await files.enter_async_context(file)
                intake = await match(
                    cij.dataverse,
                    chunks,
                    table=table,
                    column=task.match_on,
                    max_invalid=rules.max_invalid,
                    max_not_found=rules.max_not_found,
                    on_not_found=not_found.write if not_found else None,
                    on_progress=_Looking(task.log),
                    on_end=files.aclose if not_found else None,
                )
        said = "%d rows: %d different ids, %d duplicates, %d that can't be used, %d not found"
        task.log.info(said, intake.read, len(intake.ids), intake.duplicate, intake.invalid, intake.not_found)
    if not intake.read:
        task.log.warning("There is not a single row in the list")
    rules.check_empty(intake.read)
    return intake


def resume(cursor: Cursor, ids: IdSet, *job: str) -> UploadCheckpoint:
    """Find out where an earlier try of the same job with the same ids got to."""
    from airflow_provider_cij.api.members.upload import UploadCheckpoint

    return UploadCheckpoint(cursor.resume(" ".join([*job, ids.digest()])), cursor.note)


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
