"""What the outbound operators have in common: link, default key, publish and stop, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij.api.wait import Check
from airflow_provider_cij.errors import CijError, CijNotFoundError, CijOutboundFailedError
from airflow_provider_cij.links import CijJourneyLink, CijSegmentLink
from airflow_provider_cij.operators._keys import warn_of_rename
from airflow_provider_cij.operators._missing import MayBeMissing
from airflow_provider_cij.operators._waiting import Started, WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.outbound.models import OutboundRow
    from airflow_provider_cij.api.outbound.rows import CreatedOutbound, OutboundRows
    from airflow_provider_cij.api.outbound.wait import Until


class OutboundTask(CijOperator):
    """A task on one outbound segment or journey."""

    outbound = True
    what: Literal["segment", "journey"]

    @property
    def _row_id(self) -> str:
        return str(getattr(self, f"{self.what}_id"))

    def _rows(self, cij: Cij) -> OutboundRows[Any]:
        return cij.outbound.segments if self.what == "segment" else cij.outbound.journeys


class OutboundSegmentTask(OutboundTask):
    """A task on one outbound segment."""

    what = "segment"
    operator_extra_links = (CijSegmentLink(),)

    def __init__(self, *, segment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id


class OutboundJourneyTask(OutboundTask):
    """A task on one outbound journey."""

    what = "journey"
    operator_extra_links = (CijJourneyLink(),)

    def __init__(self, *, journey_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id


class ChangeStatusMixin(WaitingOperator, OutboundTask):
    """Publishes or stops, beside one of the two above, and waits for the effect."""

    publishes = True

    @property
    def _until(self) -> Until:
        return "live" if self.publishes else "stopped"

    async def _start(self, cij: Cij, context: Context, state: Mapping[str, Any]) -> Started:
        """Publish or stop, and check once."""
        from airflow_provider_cij.api.outbound.models import OutboundStatus
        from airflow_provider_cij.api.outbound.wait import OutboundWait

        rows = self._rows(cij)
        row: OutboundRow = await rows.get(self._row_id)
        self.show_link(context, row.summary(), row.name)
        self.log.info("Outbound %s %r (%s) is %s", self.what, row.name, row.row_id, row.status_name)
        early = self.publishes and self.what == "segment" and row.status == OutboundStatus.GOING_LIVE
        if early:
            self.log.info("An evaluation is under way that may have begun too early to count: publishing after it")
        else:
            row = await (rows.publish if self.publishes else rows.stop)(row)
        wait = OutboundWait(self.what, row.row_id, self._until)
        otherwise = Check(False, row.name, "", row.summary())
        return Started(wait, *await self._check_once(cij, wait, otherwise), {"early": early})

    async def _recover(self, cij: Cij, error: CijError, state: Mapping[str, Any]) -> Check:
        """Return that an evaluation that had to end first has ended, whatever its end was."""
        if state.get("early") and isinstance(error, CijOutboundFailedError):
            return Check(True, "", "", {})
        raise error

    def _complete(self, context: Context, check: Check, deadline: float, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result; publish now where an evaluation had to end first."""
        if self.wait and state.get("early"):
            return self._run(context, deadline)  # type: ignore[no-any-return]
        return check.result


class DeleteMixin(MayBeMissing, OutboundTask):
    """Deletes, beside one of the two above."""

    def __init__(self, *, missing_ok: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.missing_ok = missing_ok

    def _execute(self, context: Context) -> dict[str, Any]:
        """Delete the segment or journey."""

        async def delete(cij: Cij) -> bool:
            deleted = await self._rows(cij).delete(self._row_id)
            if not deleted and not self.missing_ok:
                raise CijNotFoundError(f"There is no outbound {self.what} {self._row_id}.")
            return deleted

        deleted = self.call(delete)
        self.log.info("Outbound %s %s %s", self.what, self._row_id, "deleted" if deleted else "is not there")
        return {f"{self.what}_id": self._row_id, "deleted": deleted}


def made(created: CreatedOutbound, what: str, log: Any) -> dict[str, Any]:
    """Log what a create or update has done, and return it for XCom."""
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
