"""Fill static groups of real-time segments, make them equal to a list, and write down who is in."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import failing_for_good, log_group
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable, writing
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.sources import Source, as_source, checked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.groups import MemberGroup
    from airflow_provider_cij.api.intake import Intake
    from airflow_provider_cij.api.models import MemberReport, Segment
    from airflow_provider_cij.hooks.cij import Cij


class _ListOperator(CijOperator):
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
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake
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
            names = [self.group] if isinstance(self.group, str) else list(self.group)
            if not names:
                raise CijInputError("group is empty.", hint="Give a group's name or id, or a list of them.")
            if self.not_found_path is not None:
                if not self.match_on:
                    raise CijInputError("not_found_path is given without match_on: ids are not looked up.")
                check_writable(str(self.not_found_path))

        async def work(cij: Cij) -> MemberReport:
            segment = None
            if self.match_on:  # the table to look in is the segment's
                segment = await self._segment(cij, context)
            intake = await self._intake(cij, source, segment)
            self._check(intake, len(names))
            segment = segment or await self._segment(cij, context)
            groups = [await cij.segments.group(segment, name) for name in names]
            self.log.info("Segment %r", segment.display_name)
            return intake.report(**await self._change(cij, segment, groups, intake))

        report = self.call(work)
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


class CijAddSegmentMembersOperator(_ListOperator):
    """Adds people to a static group of a segment; adding somebody twice is as good as once.

    The whole list is read and checked before the first call: a row without an id is counted and logged with its line,
    never sent. Members of the segment itself change with its next publish or refresh.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Add Static Segment Members"
    (1000 ids a call, 200 000 a group).

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param group: the group's name or id; or several, over which a list of more than 200,000 is spread, group after
        group: then who is in one of them already is left there (templated)
    :param members: contact or lead ids: a list, another task's output, ``FromFile``, ``FromSql`` or ``FromDataverse``
        (templated)
    :param match_on: a column of the contact or lead, such as ``emailaddress1``, when the list holds its values instead
        of ids; every record that has the value counts (templated)
    :param max_invalid: fail, before anything is sent, when more rows than this hold no id; None for any number
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines (templated)
    :param cij_conn_id: the Airflow connection
    :return: the member report: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``added``, ``removed``,
        ``unchanged``, ``batches``, ``resumed_from``. ``added`` counts who was sent; with a single group nobody looks
        who had been in it before
    :raises AirflowFailException: no such file, column or group; too many bad rows; too many ids for a group; or the
        service refuses
    """

    def _check(self, intake: Intake, groups: int) -> None:
        from airflow_provider_cij.api.mirror import check_room

        super()._check(intake, groups)
        check_room(intake.ids, groups)

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake
    ) -> dict[str, int]:
        if len(groups) == 1:
            with log_group(self.log, f"Add {len(intake.ids)} members to group {_named(groups)}"):
                batches = await cij.members.add(segment.segment_id, groups[0].group_id, intake.ids, _Progress(self.log))
            return {"added": len(intake.ids), "batches": batches}
        plan = await cij.members.plan(segment.segment_id, groups, intake.ids)
        with log_group(self.log, f"Add {len(plan.missing)} members to group {_named(groups)}"):
            batches = await cij.members.add_missing(segment.segment_id, plan, _Progress(self.log))
        return {"added": len(plan.missing), "unchanged": plan.unchanged, "batches": batches}


class CijRemoveSegmentMembersOperator(_ListOperator):
    """Removes people from a static group of a segment; somebody who is not in it is no error.

    Members of the segment itself change with its next publish or refresh, and only if the query does not find them.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Remove Static Segment Members".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param group: the group's name or id; or several, and they are removed from each (templated)
    :param members: whom to remove, as ``CijAddSegmentMembersOperator`` takes them (templated)
    :param match_on: as there (templated)
    :param max_invalid: as there
    :param not_found_path: as there (templated)
    :param cij_conn_id: the Airflow connection
    :return: the member report; ``removed`` counts who was sent, in the group or not
    :raises AirflowFailException: as there
    """

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake
    ) -> dict[str, int]:
        batches = 0
        with log_group(self.log, f"Remove {len(intake.ids)} members from group {_named(groups)}"):
            for group in groups:
                batches += await cij.members.remove(segment.segment_id, group.group_id, intake.ids, _Progress(self.log))
        return {"removed": len(intake.ids), "batches": batches}


class CijMirrorSegmentMembersOperator(_ListOperator):
    """Makes a static group equal to a list: reads the group, adds who is missing, removes who is not in the list.

    The plan is shown before anything is changed. Doing it again does what is left to do. Members of the segment itself
    change with its next publish or refresh.

    Source: "Create a Customer Insights - Journeys segment using the Web API", sections "View", "Add" and "Remove
    Static Segment Members".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param group: the group's name or id; or several that hold the list together (templated)
    :param members: whom the group shall hold, as ``CijAddSegmentMembersOperator`` takes them (templated)
    :param match_on: as there (templated)
    :param max_invalid: as there
    :param not_found_path: as there (templated)
    :param max_removals: the share of the group that may be removed, from 0 to 1; more fails before anything is changed,
        for a list that was cut short removes people whom nobody meant to remove
    :param dry_run: only show and return the plan
    :param cij_conn_id: the Airflow connection
    :return: the member report, exact: ``added``, ``removed`` and ``unchanged``; with ``dry_run`` what they would be
    :raises AirflowFailException: as there; or more than ``max_removals`` would be removed
    """

    def __init__(self, *, max_removals: float = 0.2, dry_run: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_removals = max_removals
        self.plan_only = dry_run

    def _check(self, intake: Intake, groups: int) -> None:
        from airflow_provider_cij.api.mirror import check_room

        super()._check(intake, groups)
        check_room(intake.ids, groups)
        if not 0 <= self.max_removals <= 1:
            raise CijInputError(f"max_removals is {self.max_removals}.", hint="Give a share, from 0 to 1.")

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake
    ) -> dict[str, int]:
        with log_group(self.log, "Plan"):
            plan = await cij.members.plan(segment.segment_id, groups, intake.ids)
            self.log.info(
                "%d members are there: %d stay, %d will be removed, %d will be added",
                *(plan.there, plan.unchanged, plan.removals, len(plan.missing)),
            )
        plan.check(self.max_removals)
        report = {"added": len(plan.missing), "removed": plan.removals, "unchanged": plan.unchanged}
        if self.plan_only:
            plan.shares(removing=True)
            self.log.info("This was a dry run: nothing is changed")
            return report
        with log_group(
            self.log, f"Remove {plan.removals} members from group {_named(groups)}, add {len(plan.missing)}"
        ):
            batches = await cij.members.mirror(segment.segment_id, plan, _Progress(self.log))
        return {**report, "batches": batches}


def _named(groups: Sequence[MemberGroup]) -> str:
    return ", ".join(repr(group.name) for group in groups)


class _Progress:
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


class CijExportSegmentMembersOperator(CijOperator):
    """Writes the members of a segment, or of one of its static groups, to a CSV or Parquet file.

    The file has one column, named ``contactid`` or ``leadid``. It appears when it is whole, in place of an older one.

    Source: "Create a Customer Insights - Journeys segment using the Web API", sections "View members" (the segment as
    of its last evaluation) and "View Static Segment Members".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param path: the file to write, in a folder that exists, or a URL that Airflow's ``ObjectStoragePath`` takes;
        ``.parquet`` needs the extra ``parquet`` (templated)
    :param group: a static group's name or id; by default the segment's members (templated)
    :param cij_conn_id: the Airflow connection
    :return: ``{"count", "path"}``
    :raises AirflowFailException: no such segment, group or folder
    :raises CijIncompleteError: the service gave a part of the list; nothing was written
    """

    template_fields: Sequence[str] = ("segment_id", "path", "group")
    operator_extra_links = (CijSegmentLink(),)

    def __init__(self, *, segment_id: str, path: str, group: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.path = path
        self.group = group

    def execute(self, context: Context) -> dict[str, Any]:
        """List and write."""
        from airflow_provider_cij.api.models import LIVE

        target = str(self.path)
        with failing_for_good():
            check_writable(target)

        async def export(cij: Cij) -> int:
            segment = await cij.segments.get(self.segment_id)
            CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id), segment.display_name)
            if self.group is not None:
                group = await cij.segments.group(segment, self.group)
                pages = cij.members.of_group(segment.segment_id, group.group_id)
            else:
                level = INFO if segment.status in LIVE else WARNING
                said = "Segment %r is %s: these are the members of its last evaluation"
                self.log.log(level, said, segment.display_name, segment.status_name)
                pages = cij.members.of_segment(segment.segment_id)
            count = 0
            with writing(target, (f"{segment.base_table or 'contact'}id",)) as file:
                async for page in pages:
                    file.write(page)
                    count += len(page)
                    self.log.info("%d members", count)
            return count

        with log_group(self.log, f"Export to {target}"):
            count = self.call(export)
        self.log.info("Wrote %d members to %s", count, target)
        return {"count": count, "path": target}
