"""Fill static groups of real-time segments, make them equal to a list, and write down who is in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._arguments import filled, row_ids, switch
from airflow_provider_cij._base import CijOperator, log_group, permanent_failures
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.consent.rules import ConsentTo
from airflow_provider_cij.errors import CijError, CijRefusedError
from airflow_provider_cij.files import check_writable
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._cursor import Cursor
from airflow_provider_cij.operators._exporting import Standing, export
from airflow_provider_cij.operators._member_list import MemberListOperator, Progress, named, resume
from airflow_provider_cij.operators._removed import Removed

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.members.id_list import MemberIdList
    from airflow_provider_cij.api.segments.models import MemberGroup, Segment

__all__ = [
    "CijAddSegmentMembersOperator",
    "CijExportSegmentMembersOperator",
    "CijMirrorSegmentMembersOperator",
    "CijRemoveSegmentMembersOperator",
    "ConsentTo",
]


_CONSENT = "Give True, or ConsentTo(purpose_id=…)."


class _FillOperator(MemberListOperator):
    """Puts people into static groups."""

    def __init__(self, *, require_consent: bool | ConsentTo = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.require_consent = require_consent

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not isinstance(self.require_consent, ConsentTo):
            self.require_consent = switch("require_consent", self.require_consent, _CONSENT)

    def _check(self, intake: MemberIdList, groups: int) -> None:
        from airflow_provider_cij.api.members.sync_plan import check_room

        super()._check(intake, groups)
        check_room(intake.ids, groups)


class CijAddSegmentMembersOperator(_FillOperator):
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
    :param max_invalid: how many rows may hold no id, or no value to match: a number of rows, a share of them such as
        ``"5%"``, or None for any number. Default 0. More fail before anything is sent (templated)
    :param max_not_found: how many different values of ``match_on`` may match nobody, in the same way. Default 0
        (templated)
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"`` (templated)
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines (templated)
    :param require_consent: True leaves out whose e-mail address has opted out of the commercial purpose;
        ``ConsentTo(purpose_id, topic_id)`` of another one. Counted as ``opted_out``, a key of the report only then.
        It reads rows that say no for ``emailaddress1``. It does not know the purpose's enforcement model (a restrictive
        one blocks also people without a row), other address columns and channels, or business units
    :param cij_conn_id: the Airflow connection
    :return: the member report: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``added``, ``removed``,
        ``unchanged``, ``batches``, ``resumed_from``. ``added`` counts who was sent; with a single group nobody looks
        who had been in it before
    :raises AirflowFailException: no such file, column or group; too many bad rows; too many ids for a group; or the
        service refuses
    """

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: MemberIdList, cursor: Cursor
    ) -> dict[str, int]:
        if len(groups) == 1:
            where = (segment.segment_id, groups[0].group_id)
            earlier = resume(cursor, intake.ids, "add", *where)
            with log_group(self.log, f"Add {len(intake.ids)} members to group {named(groups)}"):
                batches = await cij.members.add(*where, intake.ids, Progress(self.log), earlier)
            return {"added": len(intake.ids), "batches": batches, "resumed_from": earlier.sent(intake.ids)}
        plan = await cij.members.plan(segment.segment_id, groups, intake.ids)
        with log_group(self.log, f"Add {len(plan.missing)} members to group {named(groups)}"):
            batches = await cij.members.add_missing(segment.segment_id, plan, Progress(self.log))
        return {"added": len(plan.missing), "unchanged": plan.unchanged, "batches": batches}


class CijRemoveSegmentMembersOperator(MemberListOperator):
    """Removes people from a static group of a segment; somebody who is not in it is no error.

    Members of the segment itself change with its next publish or refresh, and only if the query does not find them.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Remove Static Segment Members".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param group: the group's name or id; or several, and they are removed from each (templated)
    :param members: whom to remove, as ``CijAddSegmentMembersOperator`` takes them (templated)
    :param match_on: as there (templated)
    :param max_invalid: how many rows may hold no id, or no value to match. Default 0 (templated)
    :param max_not_found: how many different values may match nobody. Default 0 (templated)
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"`` (templated)
    :param not_found_path: as there (templated)
    :param cij_conn_id: the Airflow connection
    :return: the member report; ``removed`` counts who was sent, in the group or not
    :raises AirflowFailException: as there
    """

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: MemberIdList, cursor: Cursor
    ) -> dict[str, int]:
        batches = resumed_from = 0
        with log_group(self.log, f"Remove {len(intake.ids)} members from group {named(groups)}"):
            for group in groups:
                where = (segment.segment_id, group.group_id)
                earlier = resume(cursor, intake.ids, "remove", *where)
                resumed_from += earlier.sent(intake.ids)
                batches += await cij.members.remove(*where, intake.ids, Progress(self.log), earlier)
        return {"removed": len(intake.ids), "batches": batches, "resumed_from": resumed_from}


class CijMirrorSegmentMembersOperator(_FillOperator):
    """Makes a static group equal to a list: reads the group, adds who is missing, removes who is not in the list.

    The plan is shown before anything is changed. Doing it again does what is left to do. Members of the segment itself
    change with its next publish or refresh.

    Source: "Create a Customer Insights - Journeys segment using the Web API", sections "View", "Add" and "Remove
    Static Segment Members".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param group: the group's name or id; or several that hold the list together (templated)
    :param members: whom the group shall hold, as ``CijAddSegmentMembersOperator`` takes them (templated)
    :param match_on: as there (templated)
    :param max_invalid: how many rows may hold no id, or no value to match. Default 0 (templated)
    :param max_not_found: how many different values may match nobody. Default 0 (templated)
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"`` (templated)
    :param not_found_path: as there (templated)
    :param require_consent: as there; who has opted out is removed if he is in the group
    :param max_removals: how many members may be removed: a number, a share of the group's members such as ``"20%"``
        (default) or 0.2, or None for any number. More fail before anything is changed, for a list that was cut short
        removes people by accident (templated)
    :param removed_path: a CSV or Parquet file of the ids that are removed, written before they are; feed it to
        ``CijAddSegmentMembersOperator`` to undo the mirror (templated)
    :param verify: True (default) lists the groups once more after something was sent, and compares the ids. If they
        differ from the list, the mirror is planned and sent again, up to 3 times, then the task fails: another writer
        changes the group. This costs a second listing, a request for every 5,000 members; False skips it (templated)
    :param dry_run: True only shows and returns the plan: nothing is sent, no file of removed ids is written (templated
        as ``plan_only``)
    :param cij_conn_id: the Airflow connection
    :return: the member report, exact: ``added``, ``removed`` and ``unchanged``; with ``dry_run`` what they would be
    :raises AirflowFailException: as there; or more than ``max_removals`` would be removed
    :raises CijError: another writer changes the group, so that it does not become equal to the list
    """

    template_fields: Sequence[str] = (
        *MemberListOperator.template_fields,
        *("max_removals", "removed_path", "verify", "plan_only"),
    )

    def __init__(
        self,
        *,
        max_removals: int | float | str | None = "20%",
        removed_path: str | None = None,
        verify: bool = True,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_removals = max_removals
        self.removed_path = removed_path
        self.verify = verify
        self.plan_only = dry_run

    def _check_arguments(self) -> None:
        super()._check_arguments()
        bound_of("max_removals", self.max_removals)
        switch("verify", self.verify)
        switch("dry_run", self.plan_only)
        if self.removed_path is not None:
            check_writable(str(self.removed_path))

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: MemberIdList, cursor: Cursor
    ) -> dict[str, int]:
        from airflow_provider_cij.api.members.verify import ROUNDS, verified

        bound, where = bound_of("max_removals", self.max_removals), (segment.segment_id, groups, intake.ids)
        with log_group(self.log, "Plan"):
            plan = await cij.members.plan(*where)
            self.log.info(
                "%d members are there: %d stay, %d will be removed, %d will be added",
                *(plan.there, plan.unchanged, plan.removals, len(plan.missing)),
            )
        plan.check(bound)
        report = {"added": 0, "removed": 0, "unchanged": plan.unchanged, "batches": 0}
        if switch("dry_run", self.plan_only):
            plan.allocate(removing=True)
            self.log.info("This was a dry run: nothing is changed")
            return report | {"added": len(plan.missing), "removed": plan.removals}
        removed = None
        if self.removed_path is not None:
            column = f"{segment.base_table or 'contact'}id"
            removed = Removed(str(self.removed_path), column, cursor.context, self.log)
        for number in range(1, ROUNDS + 1):
            if removed:
                await removed.keep(plan)
            said = f"Remove {plan.removals} members from group {named(groups)}, add {len(plan.missing)}"
            with log_group(self.log, said):
                report["batches"] += await cij.members.mirror(segment.segment_id, plan, Progress(self.log))
            report["added"] += len(plan.missing)
            report["removed"] += plan.removals
            if plan.done or not switch("verify", self.verify):
                return report
            with log_group(self.log, "Verify"):
                plan = await verified(cij.members, *where)
            if plan.done:
                return report
            lacks = f"{len(plan.missing):,} of the list are not in it, {plan.removals:,} others are"
            self.log.warning("Group %s is not equal to the list after round %d: %s", named(groups), number, lacks)
            plan.check(bound)
        raise CijError(
            f"Group {named(groups)} was mirrored {ROUNDS} times and is not equal to the list: {lacks}. Another writer "
            "changes this group.",
            hint="Does another DAG, or another run of this one, fill it? Let one task at a time write to a group.",
        )


class CijExportSegmentMembersOperator(CijOperator):
    """Writes the members of a segment, or of one of its static groups, to a CSV or Parquet file.

    The file has one column, named ``contactid`` or ``leadid``. It appears when it is whole, in place of an older one.

    Source: "Create a Customer Insights - Journeys segment using the Web API", sections "View members" (the segment as
    of its last evaluation) and "View Static Segment Members".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param path: the file to write, in a folder that exists, or a URL that Airflow's ``ObjectStoragePath`` takes;
        ``.parquet`` needs the extra ``parquet`` (templated)
    :param group: a static group's name or id; by default the segment's members (templated)
    :param max_missing: how many members the list may lack against the segment's count as of the same evaluation: a
        number, a share of the count such as ``"1%"``, or None for any number. Default 0. A shorter list is read again
        for half a minute, then the task fails and the older file stays. A group has no count (templated)
    :param cij_conn_id: the Airflow connection
    :return: ``{"count", "path"}``
    :raises AirflowFailException: no such segment, group or folder
    :raises CijIncompleteError: the service gave a part of the list; nothing was written
    """

    template_fields: Sequence[str] = ("segment_id", "path", "group", "max_missing")
    operator_extra_links = (CijSegmentLink(),)

    def __init__(
        self,
        *,
        segment_id: str,
        path: str,
        group: str | None = None,
        max_missing: int | float | str | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.path = path
        self.group = group
        self.max_missing = max_missing

    def execute(self, context: Context) -> dict[str, Any]:
        """List and write."""
        from airflow_provider_cij.api.segments.models import LIVE

        target = str(self.path or "")
        with permanent_failures():
            row_ids(segment_id=self.segment_id)
            if self.group is not None:
                filled(group=self.group)
            check_writable(target)
            bound = bound_of("max_missing", self.max_missing)

        async def work(cij: Cij) -> int:
            segment = await cij.segments.get(self.segment_id)
            CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id), segment.display_name)
            column = f"{segment.base_table or 'contact'}id"
            if self.group is not None:
                group = await cij.segments.group(segment, self.group)
                group_id = group.group_id
                return await export(
                    self.log, target, column, lambda: cij.members.of_group(segment.segment_id, group_id)
                )
            level = INFO if segment.status in LIVE else WARNING
            said = "Segment %r is %s: these are the members of its last evaluation"
            self.log.log(level, said, segment.display_name, segment.status_name)

            async def read() -> Standing:
                row, last = await cij.segments.get(segment.segment_id), None
                with suppress(CijRefusedError):  # without the log the count alone tells one evaluation from the next
                    last = next(iter(await cij.segments.newest_executions(row, 1) if row.definition_id else ()), None)
                return Standing(row.member_count, (row.status, last and (last.execution_id, last.status)))

            pages = cij.members.of_segment
            return await export(self.log, target, column, lambda: pages(segment.segment_id), read, bound)

        with log_group(self.log, f"Export to {target}"):
            count = self.call(work)
        self.log.info("Wrote %d members to %s", count, target)
        return {"count": count, "path": target}
