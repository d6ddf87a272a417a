"""Wait for real-time segments."""

from __future__ import annotations

import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_cij._arguments import filled_text, words
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.sensors._waiting import WaitSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.segments.wait import SegmentWait


class _SegmentWait(WaitSensor):
    """Waits until a segment is as it should be, the same in poke, reschedule and deferrable mode."""

    operator_extra_links = (CijSegmentLink(),)

    def __init__(self, *, segment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id


class CijSegmentSensor(_SegmentWait):
    """Wait until a segment is live, refreshed or stopped, the same in poke, reschedule and deferrable mode.

    A draft, a stopped and a computing segment are waited for, and so is one whose status no document names. Error,
    Deleted and Faulted fail the task, with ``soft_fail`` as well: only a timeout skips. "Computed with warnings" is
    live, with a warning in the log.

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param until: ``"live"`` (default); ``"refreshed"``: an evaluation that began at or after ``since`` has succeeded;
        ``"stopped"``: it is stopped or has expired
    :param since: for ``"refreshed"``: a datetime with its time zone, or ISO 8601; by default the start of
        the DAG run, by the service's clock
    :param min_members: how many members it must have as well; by default any number
    :param max_members: how many members it may have at the most: more fail the task; by default any number
    :param max_change: how far their number may be from that of the evaluation before, by the log of evaluations: a
        number of members, or a share such as ``"20%"``; more fails the task. Nothing is compared at a first evaluation.
        By default any change
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's. Default
        Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "status", "member_count"}``
    :raises AirflowFailException: the segment, or the evaluation, failed, with the service's words; or it has too many
        members
    :raises AirflowSensorTimeout: it is not so within ``timeout``
    """

    readers: ClassVar = {"until": words("live", "refreshed", "stopped")}

    def __init__(
        self,
        *,
        until: Literal["live", "refreshed", "stopped"] = "live",
        since: datetime | str | None = None,
        min_members: int | str | None = None,
        max_members: int | str | None = None,
        max_change: int | float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.until = until
        self.since = since
        self.min_members = min_members
        self.max_members = max_members
        self.max_change = max_change

    def _wait(self, context: Context) -> SegmentWait:
        from airflow_provider_cij.api.segments.sizes import count_of, limits_of
        from airflow_provider_cij.api.segments.wait import SegmentWait

        if self.since is not None and self.until != "refreshed":
            raise CijInputError(f"since is given, and until is {self.until!r}.", hint="It goes with 'refreshed'.")
        least = count_of("min_members", self.min_members) or 0
        limits = limits_of(self.max_members, self.max_change)
        return SegmentWait(
            self.segment_id,
            self.until,
            self._moment(context),
            by_our_clock=self.since is None,
            min_members=least,
            limits=limits,
        )

    def _moment(self, context: Context) -> float:
        from airflow_provider_cij.api.timestamps import parse_utc

        if self.until != "refreshed":
            return 0.0
        moment = self.since
        if moment is None:
            # There from the first try on, so that a retry waits for the same.
            moment = context["dag_run"].start_date
        return parse_utc("since", moment).timestamp()


class CijSegmentMembersSensor(_SegmentWait):
    """Wait until a segment, or one of its static groups, has enough members.

    A segment's members are counted by its last evaluation, a group's as they are now.

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param min_members: how many, 1 or more; must be given. ``at_least`` is its former name
    :param group: a static group's name or id; by default the segment's members count
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's. Default
        Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "status", "member_count"}``; for a group, counting ends with the page that has enough
    :raises AirflowFailException: the segment failed, with the service's words, or has no such group
    :raises AirflowSensorTimeout: there are not enough within ``timeout``
    """

    def __init__(
        self,
        *,
        min_members: int | str | None = None,
        group: str | None = None,
        at_least: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if at_least is not None:
            warnings.warn("at_least is called min_members by now.", DeprecationWarning, stacklevel=3)
        self.min_members = at_least if min_members is None else min_members
        self.group = group

    def _wait(self, context: Context) -> SegmentWait:
        from airflow_provider_cij.api.segments.sizes import count_of
        from airflow_provider_cij.api.segments.wait import SegmentWait

        if self.group is not None:
            filled_text("group", self.group)
        least = count_of("min_members", self.min_members, 1)
        if least is None:
            raise CijInputError("min_members is missing.", hint="Give a number from 1 on.")
        return SegmentWait(self.segment_id, "members", min_members=least, group=self.group or "")
