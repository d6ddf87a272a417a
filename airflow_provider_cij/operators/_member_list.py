"""What adding, removing and mirroring have in common: the list, from its source to distinct ids, and its checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator, log_group
from airflow_provider_cij.api.concurrency import beside
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable, writing_if_given
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._hidden import hidden
from airflow_provider_cij.operators._progress import EverySecond, ProgressStore
from airflow_provider_cij.sources import Source, as_source, checked
from airflow_provider_cij.version_compat import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.consent.consent_to import ConsentTo
    from airflow_provider_cij.api.members.id_list import MemberIdList, MemberReport
    from airflow_provider_cij.api.members.id_set import IdSet
    from airflow_provider_cij.api.members.upload import UploadCheckpoint
    from airflow_provider_cij.api.segments.models import MemberGroup, Segment


# What was done comes first, then what else there was.
_DONE = ("added", "removed", "raised", "created", "updated")
_NOT_SHOWN = ("read", "batches", "requests")
_LINES_SHOWN = 5
_SHOWN_AS = {"duplicate": "duplicates", "resumed_from": "done by an earlier try"}

_KEY = "cij_cursor"
_SECONDS_BETWEEN = 1.0


class CheckpointStore:
    """Keeps how many calls a task has done, where a retry of the task finds it.

    :param context: the context of the task's run
    :param log: the task's logger
    """

    def __init__(self, context: Any, log: Any) -> None:
        self.context = context
        self._progress = ProgressStore(context, log, _KEY)
        self._log = log
        self._stored_at = 0.0

    def checkpoint(self, cij: Cij, ids: IdSet, *job: str) -> UploadCheckpoint:
        """Return how far an earlier try of the same job with the same ids in the same organisation got.

        :param cij: the open session
        :param ids: the ids that are sent
        :param job: what tells the job from the task's others: the action, the segment's id and the group's
        """
        from airflow_provider_cij.api.members.upload import UploadCheckpoint

        done = 0
        if kept := self._progress.load(" ".join([cij.dataverse.settings.base_url, *job, ids.digest()])):
            done = int(kept["done"])
            self._log.info("An earlier try has done %s calls of the same list, going on from there", f"{done:,}")
        return UploadCheckpoint(done, self._save)

    def _save(self, done: int) -> None:
        if time.monotonic() - self._stored_at >= _SECONDS_BETWEEN:
            self._stored_at = time.monotonic()
            self._progress.save({"done": done})

    def delete(self) -> None:
        """Delete the checkpoint: the job is done."""
        self._progress.delete()


class MembersArgument(CijOperator):
    """A task with ``members``."""

    # A bare list would be rendered id by id, and a text with the ids that it renders to.
    members = hidden("members", as_source)


class ListOperator(MembersArgument):
    """A task with a list of people, and what it accepts of that."""

    # FromSql("audience.sql", …) reads the file audience.sql.
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        members: Iterable[object] | Source | None,
        match_on: str | None = None,
        max_invalid: int | float | str | None = 0,
        max_not_found: int | float | str | None = 0,
        on_empty: str = "fail",
        not_found_path: str | None = None,
        rejects_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.members = members
        self.match_on = match_on
        self.max_invalid = max_invalid
        self.max_not_found = max_not_found
        self.on_empty = on_empty
        self.not_found_path = not_found_path
        self.rejects_path = rejects_path


class MemberListOperator(ListOperator):
    """Change static groups with a list of people."""

    operator_extra_links = (CijSegmentLink(),)

    # Operators that fill a group leave out people who have opted out of it.
    require_consent: bool | ConsentTo = False
    opted_out_path: str | None = None

    def __init__(
        self,
        *,
        segment_id: str,
        group: str | Sequence[str],
        members: Iterable[object] | Source,
        **kwargs: Any,
    ) -> None:
        super().__init__(members=members, **kwargs)
        self.segment_id = segment_id
        self.group = group

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], ids: IdSet, checkpoints: CheckpointStore
    ) -> dict[str, int]:
        """Change the groups, and return the counts of the report that the list itself does not hold."""
        raise NotImplementedError

    def _check_arguments(self) -> None:
        """Check the arguments, after rendering and before the first request."""
        names = self._group_names()
        if not names or not all(isinstance(name, str) and name for name in names):
            raise CijInputError(f"group is {self.group!r}.", hint="Give a group's name or id, or a list of them.")
        check_list_paths(self)

    def _check_ids(self, ids: IdSet) -> None:
        """Check the ids of the list, before what the service says of the segment and its groups counts."""

    def _group_names(self) -> list[str]:
        several = isinstance(self.group, Iterable) and not isinstance(self.group, (str, bytes, Mapping))
        return list(self.group) if several else [self.group] if self.group else []  # type: ignore[list-item]

    def _execute(self, context: Context) -> dict[str, int]:
        """Read the list to its end, then change the groups."""
        source = checked(self.members)
        self._check_arguments()
        checkpoints = CheckpointStore(context, self.log)
        segment, id_list, done = self.call(lambda cij: self._run(cij, source, checkpoints))
        report = done.as_dict()
        checkpoints.delete()
        self.log.info("Members: %s", counts_text(report, self, id_list))
        self._report(context, segment, report)
        return report

    def _report(self, context: Context, segment: Segment, report: Mapping[str, int]) -> None:
        """Report what was done beyond the result; by default nothing."""

    async def _run(
        self, cij: Cij, source: Source, checkpoints: CheckpointStore
    ) -> tuple[Segment, MemberIdList, MemberReport]:
        left_out: Mapping[str, int] = {}
        async with beside(self._segment_and_groups(cij)) as read_beside:
            table = "contact"
            if self.match_on or self.require_consent:  # the table to look in is the segment's
                table = (await read_beside)[0].base_table or table
            id_list = await read_list(self, cij, source, table)
            if self.require_consent:
                id_list, left_out = await self._with_consent(cij, id_list, table)
            self._check_ids(id_list.ids)
            segment, groups = await read_beside
        self.show_link(checkpoints.context, segment.summary(), segment.display_name)
        self.log.info("Segment %r (%s)", segment.display_name, segment.segment_id)
        changes = await self._change(cij, segment, groups, id_list.ids, checkpoints)
        return segment, id_list, id_list.report(**changes, **left_out)

    async def _with_consent(
        self, cij: Cij, id_list: MemberIdList, table: str
    ) -> tuple[MemberIdList, Mapping[str, int]]:
        from airflow_provider_cij.api.consent.consent_to import ConsentTo
        from airflow_provider_cij.api.consent.screening import screen

        to = self.require_consent if isinstance(self.require_consent, ConsentTo) else ConsentTo()
        async with writing_if_given(self.opted_out_path, (f"{table}id", "reason")) as file:
            screening = await screen(cij.dataverse, id_list.ids, table, to, file.write if file else None)
        out, counts = screening.left_out, screening.counts
        text = "Left out %s of %s members for lack of consent: %s"
        self.log.info(text, f"{len(out):,}", f"{len(id_list.ids):,}", counts_text(counts))
        return replace(id_list, ids=id_list.ids.minus(out)), counts

    async def _segment_and_groups(self, cij: Cij) -> tuple[Segment, list[MemberGroup]]:
        segment = await cij.segments.get(self.segment_id)
        return segment, await cij.segments.groups(segment, self._group_names())


def check_empty(read: int, on_empty: str) -> None:
    """Fail or skip the task when its list has no row.

    :param read: the number of rows
    :param on_empty: ``fail``, ``skip`` or ``ok``
    :raises CijInputError: the list has no row and ``on_empty`` is ``fail``
    :raises AirflowSkipException: the list has no row and ``on_empty`` is ``skip``
    """
    if read or on_empty == "ok":
        return
    if on_empty == "skip":
        raise AirflowSkipException("The list has no row. Nothing was sent.")
    raise CijInputError("The list has no row.", hint="on_empty='skip' or 'ok' allows that. Nothing was sent.")


def check_list_paths(task: Any) -> None:
    """Check the paths of the files that a task writes about its list.

    :param task: the operator, with ``match_on``, ``not_found_path`` and ``rejects_path``
    :raises CijInputError: a path can't be written to; the error names it
    """
    if task.not_found_path is not None and not task.match_on:
        raise CijInputError("not_found_path is given without match_on: ids are not looked up.")
    check_writable(task.not_found_path)
    check_writable(task.rejects_path)


async def read_list(task: Any, cij: Cij, source: Source, table: str) -> MemberIdList:
    """Read a list to its end, and look its values up if the task has ``match_on``.

    :param task: the operator, with ``match_on``, ``max_invalid``, ``max_not_found``, ``on_empty``, ``not_found_path``
        and ``rejects_path``
    :param cij: the open session
    :param source: the list
    :param table: the table to look values up in, ``contact`` or ``lead``
    :raises CijInputError: the list has no row, or exceeds a bound; ``not_found_path`` and ``rejects_path`` are written
        before that
    :raises AirflowSkipException: the list has no row, and ``on_empty`` is ``skip``
    """
    from airflow_provider_cij.api.members.id_list import read_member_ids
    from airflow_provider_cij.api.members.match import match

    with log_group(task.log, f"Read members from {source!r}"):
        chunks = source.chunks(cij.dataverse)
        async with AsyncExitStack() as files:
            rejected = writing_if_given(task.rejects_path, ("line", "reason", "value"))
            rejects = await files.enter_async_context(rejected)
            unmatched = writing_if_given(task.not_found_path, ("line", str(task.match_on)))
            not_found = await files.enter_async_context(unmatched)
            on_reject = rejects.write if rejects else None
            on_end = files.aclose if rejects or not_found else None
            if not task.match_on:
                id_list = await read_member_ids(chunks, task.max_invalid, on_reject, on_end)
            else:
                id_list = await match(
                    cij.dataverse,
                    chunks,
                    table=table,
                    column=task.match_on,
                    max_invalid=task.max_invalid,
                    max_not_found=task.max_not_found,
                    on_not_found=not_found.write if not_found else None,
                    on_progress=_MatchProgress(task.log),
                    on_end=on_end,
                    on_reject=on_reject,
                )
        counts = (id_list.read, len(id_list.ids), id_list.duplicate, id_list.invalid, id_list.not_found)
        text = "Read %s rows: %s distinct ids, %s duplicates, %s invalid, %s not found"
        task.log.info(text, *(f"{count:,}" for count in counts))
    if not id_list.read:
        task.log.warning("There is not a single row in the list")
    elif id_list.invalid or id_list.not_found:
        unused = {"invalid": id_list.invalid, "not_found": id_list.not_found}
        task.log.warning("Not all of %s rows are used: %s", f"{id_list.read:,}", counts_text(unused, task, id_list))
    check_empty(id_list.read, task.on_empty)
    return id_list


def counts_text(report: Mapping[str, int], task: Any = None, id_list: MemberIdList | None = None) -> str:
    """Return a report as one line for the log, without the counts that are zero.

    :param report: counts by name, such as ``{"read": 3, "added": 2, "invalid": 1}``
    :param task: the operator, whose ``rejects_path`` is named beside the invalid rows. Default None, it has none
    :param id_list: the list, whose first invalid lines are named. Default None, no lines
    :return: such as ``read 3: added 2, 1 invalid (line 2)``
    """
    done = [f"{name} {report[name]:,}" for name in _DONE if report.get(name)]
    others = (name for name in report if name not in (*_DONE, *_NOT_SHOWN))
    words = {name: _SHOWN_AS.get(name, name.replace("_", " ")) for name in others if report[name]}
    if "invalid" in words and id_list and id_list.invalid_lines:
        lines = ", ".join(map(str, id_list.invalid_lines[:_LINES_SHOWN]))
        more = ", …" if report["invalid"] > _LINES_SHOWN else ""
        path = (
            f"; see {task.rejects_path}" if task.rejects_path else "; rejects_path gives a file of them" if more else ""
        )
        words["invalid"] += f" ({'line' if report['invalid'] == 1 else 'lines'} {lines}{more}{path})"
    done += [f"{report[name]:,} {word}" for name, word in words.items()]
    text = ", ".join(done) or "nothing to do"
    return f"read {report['read']:,}: {text}" if "read" in report else text


def names_of(groups: Sequence[MemberGroup]) -> str:
    """Return the names of groups for the log, quoted.

    :param groups: the groups
    """
    return ", ".join(repr(group.name) for group in groups)


class Progress:
    """Logs an upload's batches: one a second, and the last one.

    :param log: the task's logger
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._seconds = EverySecond()

    def __call__(self, done: int, total: int, sent: int) -> None:
        if not self._seconds.passed(last=done in (1, total)):
            return
        rate = sent / max(time.monotonic() - self._seconds.started, 0.001)
        self._log.info(
            "Batch %s of %s: %s members sent, %s a second", *(f"{n:,.0f}" for n in (done, total, sent, rate))
        )


class _MatchProgress:
    """Logs a query a second."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._seconds = EverySecond()

    def __call__(self, queries: int, asked: int, matched: int) -> None:
        if self._seconds.passed():
            self._log.info("%s queries: %s values looked up, %s found", *(f"{n:,}" for n in (queries, asked, matched)))
