"""What the outbound operators have in common: link, default key, publish and stop, delete."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cij._arguments import positive, row_ids, set_switches, switch
from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import cosmetic, failing_for_good, log_group, name_of, summary_of
from airflow_provider_cij.errors import CijError, CijNotFoundError, CijStoppedError
from airflow_provider_cij.links import CijJourneyLink, CijSegmentLink
from airflow_provider_cij.operators._keys import warn_of_rename
from airflow_provider_cij.version_compat import AirflowFailException, conf

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.outbound.models import OutboundRow
    from airflow_provider_cij.api.outbound.rows import CreatedOutbound, OutboundRows
    from airflow_provider_cij.api.outbound.wait import Seen
    from airflow_provider_cij.hooks.cij import Cij


def fails_on(fail_on: str, *, errors: bool, warnings: bool = False) -> bool:
    """Tell whether what was found is to fail the task."""
    return (errors and fail_on != "never") or (warnings and fail_on == "warning")


class OutboundTask(CijOperator):
    """A task on one outbound segment or journey."""

    what: ClassVar[str]

    def _id(self) -> str:
        raise NotImplementedError

    def _check_id(self) -> None:
        """Raise CijInputError when the row's id is none."""
        row_ids(**{f"{self.what}_id": self._id()})

    def _rows(self, cij: Cij) -> OutboundRows[Any]:
        raise NotImplementedError

    def _show(self, context: Context, row_id: str, name: str) -> None:
        raise NotImplementedError


class OutboundSegmentTask(OutboundTask):
    """A task on one outbound segment."""

    what = "segment"
    template_fields: Sequence[str] = ("segment_id",)
    operator_extra_links = (CijSegmentLink(),)

    def __init__(self, *, segment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id

    def _id(self) -> str:
        return self.segment_id

    def _rows(self, cij: Cij) -> OutboundRows[Any]:
        return cij.outbound.segments

    def _show(self, context: Context, row_id: str, name: str) -> None:
        CijSegmentLink().show(self, context, self.hook.row_url("msdyncrm_segment", row_id), name)


class OutboundJourneyTask(OutboundTask):
    """A task on one outbound journey."""

    what = "journey"
    template_fields: Sequence[str] = ("journey_id",)
    operator_extra_links = (CijJourneyLink(),)

    def __init__(self, *, journey_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id

    def _id(self) -> str:
        return self.journey_id

    def _rows(self, cij: Cij) -> OutboundRows[Any]:
        return cij.outbound.journeys

    def _show(self, context: Context, row_id: str, name: str) -> None:
        CijJourneyLink().show(self, context, self.hook.row_url("msdyncrm_customerjourney", row_id), name)


class Moves(OutboundTask):
    """Publishes or stops, beside one of the two above, and waits for what comes of it."""

    publishes = True

    def __init__(
        self,
        *,
        wait: bool = True,
        poll_interval: float = 30,
        timeout: float = 24 * 3600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait = wait
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Do it, and wait or defer."""
        with failing_for_good():
            self.wait = switch(f"wait_until_{self._until}", self.wait)
            set_switches(self, "deferrable")
            self._check_id()
            positive(poll_interval=self.poll_interval, timeout=self.timeout)
        return self._move(context, time.time() + self.timeout)

    @property
    def _until(self) -> str:
        return "live" if self.publishes else "stopped"

    def _move(self, context: Context, deadline: float) -> dict[str, Any]:
        while True:
            seen, early, not_before = self.call(lambda cij: self._ask(cij, context))
            if not self.wait:
                return seen.result
            if not seen.done and self.deferrable:
                self._defer(deadline, not_before, early=early)
            if not seen.done:
                try:
                    seen = self._wait(deadline, not_before)
                except AirflowFailException:
                    if not early:
                        raise
            if not early:
                return seen.result

    async def _ask(self, cij: Cij, context: Context) -> tuple[Seen, bool, float]:
        """Publish or stop, and look once.

        :return: what was seen; whether an evaluation that began before we asked has to end first; and the epoch seconds
            at which the service may be asked again
        """
        from airflow_provider_cij.api.outbound.models import OutboundStatus
        from airflow_provider_cij.api.outbound.wait import Seen, look

        rows = self._rows(cij)
        row: OutboundRow = await rows.get(self._id())
        self._show(context, row.row_id, row.name)
        self.log.info("Outbound %s %r is %s", self.what, row.name, row.status_name)
        early = self.publishes and self.what == "segment" and row.status == OutboundStatus.GOING_LIVE
        if early:
            self.log.info("An evaluation is under way that may have begun too early to count: publishing after it")
        else:
            await (rows.publish if self.publishes else rows.stop)(row.row_id)
        # It is done: what fails from here on is waited out, and never answered by doing it again.
        try:
            seen = await look(cij.outbound, self.what, row.row_id, self._until)
        except CijError as error:
            if error.permanent or isinstance(error, CijStoppedError):
                raise
            self.log.warning("The outbound %s could not be read, going on: %s", self.what, error)
            result = {f"{self.what}_id": row.row_id, "status": row.status_name}
            return Seen(False, row.name, str(error), result), early, time.time() + (error.retry_after or 0.0)
        self.log.info("%s", seen.said)
        return seen, early, 0.0

    def _defer(self, deadline: float, not_before: float, *, early: bool) -> None:
        from airflow_provider_cij.triggers.outbound import CijOutboundTrigger

        self.defer(
            trigger=CijOutboundTrigger(
                cij_conn_id=self.cij_conn_id,
                what=self.what,
                row_id=self._id(),
                until=self._until,
                poll_interval=self.poll_interval,
                deadline=deadline,
                not_before=not_before,
                early=early,
            ),
            method_name="execute_complete",
            # The trigger keeps the deadline; this is for a triggerer that never ran it.
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + 60),
        )

    def _wait(self, deadline: float, not_before: float) -> Seen:
        from airflow_provider_cij.api.outbound.wait import wait

        async def until_then(cij: Cij) -> Seen:
            return await wait(
                cij.outbound,
                self.what,
                self._id(),
                self._until,
                poll_interval=self.poll_interval,
                deadline=deadline,
                first_after=max(self.poll_interval, not_before - time.time()),
            )

        with log_group(self.log, f"Wait until {self._until}"):
            return self.call(until_then)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the trigger's event; publish now where an evaluation had to end before."""
        if event and event.get("early") and event.get("status") in ("live", "failed"):
            return self._move(context, float(event["deadline"]))
        with failing_for_good():
            result = summary_of(event, of="outbound")
        with cosmetic(self.log, "The link"):
            self._show(context, self._id(), name_of(event))
        self.log.info("%s", result)
        return result


class Deletes(OutboundTask):
    """Deletes, beside one of the two above."""

    def __init__(self, *, missing_ok: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.missing_ok = missing_ok

    def execute(self, context: Context) -> None:
        """Delete it."""
        with failing_for_good():
            set_switches(self, "missing_ok")
            self._check_id()

        async def delete(cij: Cij) -> None:
            done = await self._rows(cij).delete(self._id())
            if not done and not self.missing_ok:
                raise CijNotFoundError(f"There is no outbound {self.what} {self._id()}.")
            self.log.info("Outbound %s %s %s", self.what, self._id(), "deleted" if done else "is not there")

        self.call(delete)


def made(created: CreatedOutbound, what: str, log: Any) -> dict[str, Any]:
    """Say what creating or updating came to, for the log and for XCom."""
    done = "created" if created.created else "updated" if created.changed else "left as it is"
    log.info("Outbound %s %s %s; it is %s", what, created.row_id, done, created.status)
    warn_of_rename(log, f"Outbound {what}", created.row_id, created.changes)
    return {
        f"{what}_id": created.row_id,
        "created": created.created,
        "changed": created.changed,
        "status": created.status,
        "changes": {name: dict(change) for name, change in created.changes.items()},
    }
