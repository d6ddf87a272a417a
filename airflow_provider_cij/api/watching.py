"""Waiting for a segment: what one look means, and when to look again.

Published is not done: publish answers 204 and the work goes on behind it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from airflow_provider_cij.api.models import (
    FAILED,
    LIVE,
    Execution,
    ExecutionStatus,
    Segment,
    SegmentStatus,
    status_name,
)
from airflow_provider_cij.api.segments import Segments
from airflow_provider_cij.dataverse.client import Clock
from airflow_provider_cij.errors import CijError, CijSegmentFailedError, CijTimeoutError

log = logging.getLogger(__name__)

Outcome = Literal["waiting", "live", "failed"]

# Only these can be mistaken for the end of what was just asked for.
_ENDED = LIVE | FAILED
_EXECUTION_FAILED = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT})


@dataclass(frozen=True)
class Before:
    """What a segment was just before it was published: the same seen again afterwards is no news.

    :param status: its statuscode
    :param execution_id: its newest evaluation, ``""`` when none was to be seen
    """

    status: int
    execution_id: str = ""


def judge(segment: Segment, newest: Execution | None, before: Before | None) -> Outcome:
    """Say what one look at a segment means.

    :param segment: as it is now
    :param newest: its newest evaluation; only asked for after a publish
    :param before: as it was before the publish; None when there was none to wait for
    :return: ``waiting`` for every status that is neither live nor failed, unknown ones included
    """
    fresh = newest if before and newest and newest.execution_id != before.execution_id else None
    if fresh and fresh.status in _EXECUTION_FAILED:
        return "failed"
    if segment.status in FAILED:
        # After a publish the service may take a moment to leave the failure that the publish is to mend.
        return "waiting" if before and before.status == segment.status and not fresh else "failed"
    if segment.status not in LIVE:
        return "waiting"
    if before is None or before.status not in LIVE:
        return "live"
    # It was live before: only a new evaluation shows that the publish has taken effect. Where the log of evaluations
    # shows nothing at all, there is nothing better than the status.
    if newest is None and not before.execution_id:
        return "live"
    return "live" if fresh and fresh.status == ExecutionStatus.SUCCEEDED else "waiting"


async def look(segments: Segments, segment_id: str, before: Before | None = None) -> tuple[Segment, Outcome]:
    """Look once.

    :raises CijSegmentFailedError: the segment failed, with the service's words
    """
    segment = await segments.get(segment_id)
    newest = await segments.last_execution(segment) if before is not None and before.status in _ENDED else None
    outcome = judge(segment, newest, before)
    if outcome == "failed":
        words = await segments.last_words(segment.segment_id)
        raise CijSegmentFailedError(
            f"Segment {segment.display_name!r} ({segment.segment_id}) ended in status {segment.status_name}: "
            + (words or "the service gives no reason."),
            hint="" if words else "Open the segment in Dynamics 365 to see why.",
        )
    return segment, outcome


def news(segment: Segment, before: Before | None) -> Before | None:
    """Forget what was before a publish once the segment has left it: whatever comes now is new."""
    return before if segment.status in _ENDED else None


async def before_publish(segments: Segments, segment: Segment) -> Before:
    """Remember what there is, to tell news from it later."""
    newest = await segments.last_execution(segment) if segment.status in _ENDED else None
    return Before(segment.status, newest.execution_id if newest else "")


async def wait_until_live(
    segments: Segments,
    segment_id: str,
    *,
    before: Before | None = None,
    poll_interval: float,
    deadline: float,
    first_after: float = 0.0,
    clock: Clock | None = None,
) -> Segment:
    """Look again and again until the segment is live.

    :param segments: over an open client
    :param segment_id: whom to wait for
    :param before: what it was before it was published, if it was
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at
    :param first_after: seconds before the first look
    :param clock: where time comes from
    :raises CijSegmentFailedError: it failed
    :raises CijTimeoutError: the deadline passed
    """
    clock = clock or Clock()
    seen: int | None = None
    trouble = ""
    pause = first_after
    while True:
        await clock.sleep(min(pause, max(0.0, deadline - clock.now())))
        pause = poll_interval
        try:
            segment, outcome = await look(segments, segment_id, before)
        except CijError as error:
            if error.permanent:
                raise
            # A blip while polling must not fail the task.
            log.warning("Segment %s could not be read, going on: %s", segment_id, error)
            trouble = f" The last look failed: {error}"
            pause = max(poll_interval, error.retry_after or 0.0)
        else:
            trouble = ""
            before = news(segment, before)
            if segment.status != seen:
                log.info("Segment %s is %s", segment_id, segment.status_name)
                seen = segment.status
            if outcome == "live":
                if segment.status == SegmentStatus.LIVE_WITH_WARNINGS:
                    log.warning("Segment %s is live, with warnings: open it in Dynamics 365 to see them", segment_id)
                return segment
        if clock.now() >= deadline:
            last = "never seen" if seen is None else f"last seen {status_name(seen)}"
            raise CijTimeoutError(
                f"Segment {segment_id} did not become live in the time given ({last}).{trouble}",
                hint="Large segments take hours: allow more time, or look at the segment in Dynamics 365.",
            )
