"""Fill static groups of real-time segments, and mirror lists into them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cij._arguments import bound, consent_to, switch
from airflow_provider_cij._base import best_effort, log_group
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.files import Writer, asset_uri, check_writable, outside, writing
from airflow_provider_cij.operators._emitting import EmitsEvents
from airflow_provider_cij.operators._member_list import CheckpointStore, MemberListOperator, Progress, names_of
from airflow_provider_cij.sources import FromFile
from airflow_provider_cij.version_compat import hook_lineage_collector

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.consent.consent_to import ConsentTo
    from airflow_provider_cij.api.members.id_set import IdSet
    from airflow_provider_cij.api.members.sync_plan import Plan
    from airflow_provider_cij.api.segments.models import MemberGroup, Segment

_ROUNDS = 3
"""How often a mirror is sent before another writer is blamed."""

_LOOKS_LIKE_PERCENT = 100

_REMOVED_KEY = "cij_removed_path"
_REMOVED_BATCH = 5000


def _consent(name: str, value: object) -> bool | ConsentTo:
    hint = "Give True, or ConsentTo(…)."
    return switch(name, value, hint) if isinstance(value, (bool, str)) else consent_to(name, value, hint)


def _removals(name: str, value: object) -> object:
    if type(value) is int and 1 <= value <= _LOOKS_LIKE_PERCENT:
        text = f'{name}={value} allows {value} members to be removed. For a share give "{value}%", else "{value}".'
        warnings.warn(text, UserWarning, stacklevel=2)
    return bound(name, value)


class _GroupOperator(EmitsEvents, MemberListOperator):
    """Change groups, and report that as an event on the segment's asset."""

    def _report(self, context: Context, segment: Segment, report: Mapping[str, int]) -> None:
        """Emit the event, and report the list's file as what it was made from."""
        if isinstance(self.members, FromFile):
            with best_effort(self.log, "The lineage of the list"):
                hook_lineage_collector().add_input_asset(self.hook, uri=asset_uri(str(self.members.path)))
        self.emit_segment(context, {**segment.summary(), "name": segment.display_name, **report})


class _FillOperator(_GroupOperator):
    """Put people into static groups."""

    readers: ClassVar = {"require_consent": _consent}

    def __init__(
        self, *, require_consent: bool | ConsentTo = False, opted_out_path: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.require_consent = require_consent
        self.opted_out_path = opted_out_path

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if self.opted_out_path is not None and not self.require_consent:
            raise CijInputError("opted_out_path is given without require_consent.")
        check_writable(self.opted_out_path)

    def _check_ids(self, ids: IdSet) -> None:
        from airflow_provider_cij.api.members.sync_plan import check_room

        check_room(ids, len(self._group_names()))


class CijAddSegmentMembersOperator(_FillOperator):
    """Add people to a static group of a segment. Idempotent.

    The whole list is read and checked before the first call. A row without an id is counted and logged with its line,
    never sent. The members of the segment itself change with its next publish or refresh.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Add Static Segment Members"
    (1000 ids a call, 200 000 a group).

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param group: the group's name or id. With several, a list of more than 200,000 is spread over them, group after
        group, and people who are in one of them already stay there
    :param members: contact or lead ids: a list, another task's output, ``FromFile``, ``FromSql`` or ``FromDataverse``
    :param match_on: a column of the contact or lead, such as ``emailaddress1``, when the list holds its values instead
        of ids; every record that has the value counts. Default None, the list holds ids
    :param max_invalid: how many rows may hold no id, or no value to match: a number of rows, a share of them such as
        ``"5%"``, or None for any number. Default 0. A NULL, None or NaN is counted
        as ``invalid``, but not against this bound. More fail before anything is sent
    :param max_not_found: how many different values of ``match_on`` may match nobody: a number, a share of the rows such
        as ``"5%"``, or None for any number. Default 0. More fail before anything is sent
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines. Default
        None, no file
    :param rejects_path: a CSV or Parquet file to write the rows to that hold no id, or no value to match: line, reason
        and value. Written also when more than ``max_invalid`` fail the task. Default None, no file
    :param require_consent: True leaves out people who would not get commercial e-mail, or whose address has said no to
        it; ``ConsentTo(…)`` asks for another purpose, topic or channel, or for less. The service decides
        where it can be asked, otherwise its consent tables do. Counted as ``opted_out``, ``not_set``, ``unknown`` and
        ``no_address``, keys of the report only then. Default False
    :param opted_out_path: a CSV or Parquet file to write the ids to that are left out, with the reason. Default None,
        no file
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the member report: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``added``, ``removed``,
        ``unchanged``, ``batches``, ``resumed_from``. ``added`` counts the ids that were sent; with a single group the
        operator does not read the group
    :raises AirflowFailException: there is no such file, column or group, too many rows are invalid, there are too many
        ids for the groups, or the service refuses
    """

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], ids: IdSet, checkpoints: CheckpointStore
    ) -> dict[str, int]:
        if len(groups) == 1:
            checkpoint = checkpoints.checkpoint(cij, ids, "add", segment.segment_id, groups[0].group_id)
            with log_group(self.log, f"Add {len(ids):,} members to group {names_of(groups)}"):
                batches = await cij.members.add(segment, groups[0], ids, Progress(self.log), checkpoint)
            return {"added": len(ids), "batches": batches, "resumed_from": checkpoint.sent(ids)}
        plan = await cij.members.plan(segment, groups, ids)
        with log_group(self.log, f"Add {len(plan.missing):,} members to groups {names_of(groups)}"):
            batches = await cij.members.add_missing(segment, plan, Progress(self.log))
        return {"added": len(plan.missing), "unchanged": plan.unchanged, "batches": batches}


class CijRemoveSegmentMembersOperator(_GroupOperator):
    """Remove people from a static group of a segment. Idempotent: an id that is not in the group is no error.

    The members of the segment itself change with its next publish or refresh, and only if the query does not find them.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Remove Static Segment Members".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param group: the group's name or id. With several, the people are removed from each
    :param members: contact or lead ids to remove: a list, another task's output, ``FromFile``, ``FromSql`` or
        ``FromDataverse``
    :param match_on: a column of the contact or lead, such as ``emailaddress1``, when the list holds its values instead
        of ids; every record that has the value counts. Default None, the list holds ids
    :param max_invalid: how many rows may hold no id, or no value to match: a number of rows, a share of them such as
        ``"5%"``, or None for any number. Default 0. A NULL, None or NaN is counted
        as ``invalid``, but not against this bound. More fail before anything is sent
    :param max_not_found: how many different values of ``match_on`` may match nobody: a number, a share of the rows such
        as ``"5%"``, or None for any number. Default 0. More fail before anything is sent
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines. Default
        None, no file
    :param rejects_path: a CSV or Parquet file to write the rows to that hold no id, or no value to match: line, reason
        and value. Written also when more than ``max_invalid`` fail the task. Default None, no file
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the member report: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``added``, ``removed``,
        ``unchanged``, ``batches``, ``resumed_from``. ``removed`` counts the ids that were sent, in the group or not
    :raises AirflowFailException: there is no such file, column or group, too many rows are invalid, or the service
        refuses
    """

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], ids: IdSet, checkpoints: CheckpointStore
    ) -> dict[str, int]:
        batches = resumed_from = 0
        with log_group(self.log, f"Remove {len(ids):,} members from group {names_of(groups)}"):
            for group in groups:
                checkpoint = checkpoints.checkpoint(cij, ids, "remove", segment.segment_id, group.group_id)
                resumed_from += checkpoint.sent(ids)
                batches += await cij.members.remove(segment, group, ids, Progress(self.log), checkpoint)
        return {"removed": len(ids), "batches": batches, "resumed_from": resumed_from}


class CijMirrorSegmentMembersOperator(_FillOperator):
    """Make a static group equal to a list: read the group, add who is missing, remove who is not in the list.

    Idempotent: a retry does what is left to do. The plan is logged before anything is changed. The members of the
    segment itself change with its next publish or refresh.

    Source: "Create a Customer Insights - Journeys segment using the Web API", sections "View", "Add" and "Remove
    Static Segment Members".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param group: the group's name or id; or several that hold the list together
    :param members: contact or lead ids that the group is to hold: a list, another task's output, ``FromFile``,
        ``FromSql`` or ``FromDataverse``
    :param match_on: a column of the contact or lead, such as ``emailaddress1``, when the list holds its values instead
        of ids; every record that has the value counts. Default None, the list holds ids
    :param max_invalid: how many rows may hold no id, or no value to match: a number of rows, a share of them such as
        ``"5%"``, or None for any number. Default 0. A NULL, None or NaN is counted
        as ``invalid``, but not against this bound. More fail before anything is sent
    :param max_not_found: how many different values of ``match_on`` may match nobody: a number, a share of the rows such
        as ``"5%"``, or None for any number. Default 0. More fail before anything is sent
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines. Default
        None, no file
    :param rejects_path: a CSV or Parquet file to write the rows to that hold no id, or no value to match: line, reason
        and value. Written also when more than ``max_invalid`` fail the task. Default None, no file
    :param require_consent: True leaves out people who would not get commercial e-mail, or whose address has said no to
        it; ``ConsentTo(…)`` asks for another purpose, topic or channel, or for less. They are removed
        if they are in the group. The service decides
        where it can be asked, otherwise its consent tables do. Counted as ``opted_out``, ``not_set``, ``unknown`` and
        ``no_address``, keys of the report only then. Default False
    :param opted_out_path: a CSV or Parquet file to write the ids to that are left out, with the reason. Default None,
        no file
    :param max_removals: how many members may be removed: a share of the group's members such as ``"20%"`` (default) or
        0.2, a number such as ``"100"``, or None for any number. An int up to 100 is warned of: it is no percentage.
        More fail before anything is changed, because a list that was cut short would remove people by accident
    :param removed_path: a CSV or Parquet file of the ids that are removed, written before they are; give it to
        ``CijAddSegmentMembersOperator`` to undo the mirror. Default None, no file
    :param verify: True (default) lists the groups once more after something was sent, and compares the ids. If they
        differ from the list, the mirror is planned and sent again, up to 3 times, then the task fails: another writer
        changes the group. This costs a second listing, a request for every 5,000 members; False skips it
    :param dry_run: True only logs and returns the plan: nothing is sent, no file of removed ids is written. Default
        False
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the member report: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``added``, ``removed``,
        ``unchanged``, ``batches``, ``resumed_from``. All are exact; with ``dry_run`` they say what would be changed
    :raises AirflowFailException: there is no such file, column or group, too many rows are invalid, there are too many
        ids for the groups, more than ``max_removals`` would be removed, or the service refuses
    :raises CijError: another writer changes the group, so that it does not become equal to the list
    """

    readers: ClassVar = {**_FillOperator.readers, "max_removals": _removals}

    relist_waits: Sequence[float] = (1.0, 2.0, 4.0)
    """Seconds to wait before each further listing that ``verify`` makes: a listing may lag behind writes."""

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
        check_writable(self.removed_path)

    def _report(self, context: Context, segment: Segment, report: Mapping[str, int]) -> None:
        if not self.plan_only:
            super()._report(context, segment, report)

    async def _change(
        self, cij: Cij, segment: Segment, groups: Sequence[MemberGroup], ids: IdSet, checkpoints: CheckpointStore
    ) -> dict[str, int]:
        bound = bound_of("max_removals", self.max_removals)
        with log_group(self.log, "Plan"):
            plan = await cij.members.plan(segment, groups, ids)
            counts = (plan.there, plan.unchanged, plan.removals, len(plan.missing))
            text = "%s members are there: %s stay, %s will be removed, %s will be added"
            self.log.info(text, *(f"{count:,}" for count in counts))
        plan.check(bound)
        report = {"added": 0, "removed": 0, "unchanged": plan.unchanged, "batches": 0}
        if self.plan_only:
            plan.allocate(removing=True)
            self.log.info("This was a dry run: nothing is changed")
            return report | {"added": len(plan.missing), "removed": plan.removals}
        removed = None
        if self.removed_path is not None:
            column = f"{segment.base_table or 'contact'}id"
            removed = _RemovedIds(str(self.removed_path), column, checkpoints.context, self.log)
        for number in range(1, _ROUNDS + 1):
            if removed:
                await removed.keep(plan)
            title = f"Remove {plan.removals:,} members from group {names_of(groups)}, add {len(plan.missing):,}"
            with log_group(self.log, title):
                report["batches"] += await cij.members.mirror(segment, plan, Progress(self.log))
            report["added"] += len(plan.missing)
            report["removed"] += plan.removals
            if plan.done or not self.verify:
                return report
            with log_group(self.log, "Verify"):
                plan = await cij.members.verify(segment, groups, ids, self.relist_waits)
            if plan.done:
                return report
            lacks = f"{len(plan.missing):,} of the list are not in it, {plan.removals:,} others are"
            self.log.warning("Group %s is not equal to the list after round %d: %s", names_of(groups), number, lacks)
            plan.check(bound)
        raise CijError(
            f"Group {names_of(groups)} was mirrored {_ROUNDS} times and is not equal to the list: {lacks}. Another "
            "writer changes this group.",
            hint="Does another DAG, or another run of this one, fill it? Let one task at a time write to a group.",
        )


class _RemovedIds:
    """Writes the file of ``removed_path`` before a removal is sent, so that a mirror can be undone.

    A retry of the task adds to what its earlier tries have written. It knows that by Airflow's task state store, which
    came with Airflow 3.3. On older versions the file holds what the last try removes.

    :param path: the file
    :param column: its only column
    :param context: the context of the task's run
    :param log: the task's logger
    """

    def __init__(self, path: str, column: str, context: Any, log: Any) -> None:
        self._path = path
        self._column = column
        self._store = context.get("task_state_store")
        self._log = log
        self._ids: IdSet | None = None

    async def keep(self, plan: Plan) -> None:
        """Write the ids that a plan removes, and those kept before.

        :param plan: the plan, before it is sent
        :raises CijError: the file can't be written
        """
        from airflow_provider_cij.api.members.id_set import IdSet
        from airflow_provider_cij.dataverse.guids import pack_guids

        if self._ids is None:
            self._ids = IdSet()
            await self._read_earlier(self._ids)
        for part in plan.parts:
            for batch in part.removed.batches(_REMOVED_BATCH):
                self._ids.update(pack_guids(batch)[0])
        async with outside(writing(self._path, (self._column,))) as file:
            await asyncio.to_thread(_write, file, self._ids.batches(_REMOVED_BATCH))
        if self._store:
            # Never deleted: a try that dies after its last removal must not replace the file by an empty one.
            await asyncio.to_thread(self._store.set, _REMOVED_KEY, self._path)
        self._log.info("Wrote %s ids that are removed to %s", f"{len(self._ids):,}", self._path)

    async def _read_earlier(self, ids: IdSet) -> None:
        from airflow_provider_cij.dataverse.guids import pack_guids

        if not self._store or await asyncio.to_thread(self._store.get, _REMOVED_KEY) != self._path:
            return
        try:
            async for _, values in FromFile(self._path, self._column).chunks(None):  # type: ignore[arg-type]
                ids.update(pack_guids(values)[0])
        except CijError as error:
            self._log.warning("The ids that an earlier try of this task removed can't be read any more: %s", error)


def _write(file: Writer, batches: Iterator[list[str]]) -> None:
    for batch in batches:
        file.write(batch)
