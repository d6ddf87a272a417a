"""Waiting for outbound segments, journeys and changes of members: what one check means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from airflow_provider_cij.api.outbound.journeys import validation_of
from airflow_provider_cij.api.outbound.models import LIVE, STOPPED, OutboundJourney, OutboundSegment, OutboundStatus
from airflow_provider_cij.api.outbound.responses import OperationsOutcome
from airflow_provider_cij.api.standing import read_once
from airflow_provider_cij.api.wait import Check
from airflow_provider_cij.errors import CijOutboundFailedError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.api.cij import Cij

What = Literal["segment", "journey", "operations"]
Until = Literal["live", "stopped", "finished"]
Outcome = Literal["waiting", "done", "failed"]

_ENDS = {"live": LIVE, "stopped": STOPPED}
_OF_OPERATIONS: Mapping[OperationsOutcome, Outcome] = {"finished": "done", "failed": "failed"}


@dataclass(frozen=True)
class OutboundWait:
    """Wait for an outbound segment, its changes of members, or a journey.

    :param what: ``segment``, ``journey`` or ``operations`` (the changes of a segment's members)
    :param row_id: the segment or journey
    :param until: ``live`` or ``stopped``; ``finished`` for operations
    """

    what: What
    row_id: str
    until: Until = "live"
    _seen: list[OutboundSegment] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def subject(self) -> str:
        """What is waited for, for errors."""
        return f"Outbound {'members of segment' if self.what == 'operations' else self.what} {self.row_id}"

    @property
    def unmet(self) -> str:
        """What it was not in time."""
        return f"did not become {self.until}"

    async def check(self, cij: Cij) -> Check:
        """Check once.

        :raises CijOutboundFailedError: it failed, with the service's reason
        """
        if self.what == "journey":
            journey = await cij.outbound.journeys.get(self.row_id)
            return check_row(journey, self.until, _issues(journey.findings))
        if self.what == "segment":
            return check_row(await cij.outbound.segments.get(self.row_id), self.until)
        if not self._seen:  # of its row only id and name matter
            with read_once():
                self._seen.append(await cij.outbound.segments.get(self.row_id))
        segment = self._seen[0]
        state = await cij.outbound.members.state(segment.row_id)
        # The answer is documented nowhere: the log shows it as it is.
        message = (
            f"The changes of members of outbound segment {segment.name!r} ({segment.row_id}) are {state.verdict}: "
            f"getState says {state.shown}"
        )
        outcome = _OF_OPERATIONS.get(state.verdict, "waiting")
        if outcome == "failed":
            raise CijOutboundFailedError(f"{message}.")
        result = {"segment_id": segment.row_id, "state": state.verdict}
        return Check(outcome == "done", segment.name, message, result)


def classify(status: int, until: str) -> Outcome:
    """Return what a status means: an unknown one is waited for.

    :param status: the row's statuscode
    :param until: ``live`` or ``stopped``
    """
    if status in _ENDS[until]:
        return "done"
    # Expired is final.
    return "failed" if status in (OutboundStatus.ERROR, OutboundStatus.EXPIRED) else "waiting"


def check_row(row: OutboundSegment | OutboundJourney, until: str, issues: str = "") -> Check:
    """Return what a check of a row has found.

    :param row: as it is now
    :param until: ``live`` or ``stopped``
    :param issues: what its last check for errors found, of a journey
    :raises CijOutboundFailedError: it failed
    """
    word = "segment" if isinstance(row, OutboundSegment) else "journey"
    outcome = classify(row.status, until)
    message = f"Outbound {word} {row.name!r} ({row.row_id}) is {row.status_name}"
    if outcome == "failed":
        raise CijOutboundFailedError(
            f"{message}." + (f" Its check for errors found {issues}." if issues else ""),
            hint=f"Fix it, and publish it again. CijOutboundValidate{word.title()}Operator checks it."
            if row.status == OutboundStatus.ERROR
            else "An expired one can't be published again: create a new one.",
        )
    return Check(outcome == "done", row.name, message, row.summary())


def _issues(findings: str) -> str:
    """Read what a journey's row keeps of its last check, which looks like the response of one."""
    try:
        return "; ".join(issue.message for issue in validation_of({"ValidationResult": findings}).issues)
    except CijReplyError:
        return findings[:1000]
