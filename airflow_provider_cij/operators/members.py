"""Fill static groups of real-time segments, make them equal to a list, and write down who is in."""

from __future__ import annotations

from collections.abc import Sequence
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import failing_for_good, log_group
from airflow_provider_cij.api.purposes import ConsentTo
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable, writing
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._cursor import Cursor
from airflow_provider_cij.operators._lists import MemberListOperator, Progress, named, resume

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.groups import MemberGroup
    from airflow_provider_cij.api.intake import Intake
    from airflow_provider_cij.api.models import Segment
    from airflow_provider_cij.hooks.cij import Cij

__all__ = [
    "CijAddSegmentMembersOperator",
    "CijExportSegmentMembersOperator",
    "CijMirrorSegmentMembersOperator",
    "CijRemoveSegmentMembersOperator",
    "ConsentTo",
]


class _FillOperator(MemberListOperator):
    """Puts people into static groups."""

    def __init__(self, *, require_consent: bool | ConsentTo = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.require_consent = require_consent

    def _check(self, intake: Intake, groups: int) -> None:
        from airflow_provider_cij.api.mirror import check_room

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
    :param max_invalid: fail, before anything is sent, when more rows than this hold no id; None for any number
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines (templated)
    :param require_consent: True leaves out whose e-mail address has opted out of the commercial purpose;
        ``ConsentTo(purpose_id, topic_id)`` of another one. Counted as ``opted_out``, a key of the report only then
    :param cij_conn_id: the Airflow connection
    :return: the member report: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``added``, ``removed``,
        ``unchanged``, ``batches``, ``resumed_from``. ``added`` counts who was sent; with a single group nobody looks
        who had been in it before
    :raises AirflowFailException: no such file, column or group; too many bad rows; too many ids for a group; or the
        service refuses
    """

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake, cursor: Cursor
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
    :param max_invalid: as there
    :param not_found_path: as there (templated)
    :param cij_conn_id: the Airflow connection
    :return: the member report; ``removed`` counts who was sent, in the group or not
    :raises AirflowFailException: as there
    """

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake, cursor: Cursor
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
    :param max_invalid: as there
    :param not_found_path: as there (templated)
    :param require_consent: as there; who has opted out is removed if he is in the group
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
        super()._check(intake, groups)
        if not isinstance(self.max_removals, (int, float)) or not 0 <= self.max_removals <= 1:
            raise CijInputError(f"max_removals is {self.max_removals!r}.", hint="Give a share, from 0 to 1.")

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], intake: Intake, cursor: Cursor
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
        with log_group(self.log, f"Remove {plan.removals} members from group {named(groups)}, add {len(plan.missing)}"):
            batches = await cij.members.mirror(segment.segment_id, plan, Progress(self.log))
        return {**report, "batches": batches}


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

        target = str(self.path or "")
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
