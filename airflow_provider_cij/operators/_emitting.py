"""Emit asset events for what operators change: numbers and ids of segments and journeys, never people."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator, best_effort
from airflow_provider_cij.assets import EVENTS, journey_asset, segment_asset
from airflow_provider_cij.version_compat import TAKES_OBJECTS_IN_EVENTS, hook_lineage_collector

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

_FACTS = (
    *("name", "status", "member_count", "change", "evaluated_at", "read", "added", "removed", "invalid", "not_found"),
    *("opted_out", "audience", "states", "used_by", "expires_at", "duration", "link", "execution_id"),
)
"""The keys of an event besides the id; a key whose value is not known is left out."""


class EmitsEvents(CijOperator):
    """A task that emits events on the assets of segments or journeys when it succeeds.

    :param emit_events: False emits none; default True
    """

    def __init__(self, *, emit_events: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.emit_events = emit_events
        if emit_events is not False:
            self.outlets = _with_alias(self.outlets)

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Return a partial operator with the outlet: ``expand`` calls no constructor while the DAG file is parsed."""
        made = super().partial(**kwargs)
        if made.kwargs.get("emit_events") is not False:
            made.kwargs["outlets"] = _with_alias(made.kwargs.get("outlets"))
        return made

    def emit_segment(self, context: Context, facts: Mapping[str, Any]) -> None:
        """Emit an event on a segment's asset.

        :param context: of the running task
        :param facts: ``segment_id``, and what is known of it by the other keys of an event
        """
        self._emit(context, segment_asset(facts["segment_id"], self.cij_conn_id), "segment", facts, self._use)

    def emit_journey(self, context: Context, facts: Mapping[str, Any]) -> None:
        """Emit an event on a journey's asset.

        :param context: of the running task
        :param facts: ``journey_id``, and what is known of it by the other keys of an event
        """
        self._emit(context, journey_asset(facts["journey_id"], self.cij_conn_id), "journey", facts)

    def _use(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what uses a live segment, and when it expires; nothing for another segment."""
        from airflow_provider_cij.api.segments.models import LIVE, status_name
        from airflow_provider_cij.api.segments.usages import use_of
        from airflow_provider_cij.dataverse.retry import RetryPolicy

        if facts.get("status") not in {status_name(status) for status in LIVE}:
            return {}
        # An outage must not hold up a task whose work is done.
        once = RetryPolicy(max_attempts=1)
        return self.hook.run(lambda cij: use_of(cij.dataverse, facts["segment_id"]), once)

    def _emit(
        self,
        context: Context,
        asset: Asset,
        what: str,
        facts: Mapping[str, Any],
        also: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {},
    ) -> None:
        # The task's work is done: what fails here must not have it done again.
        with best_effort(self.log, "The lineage"):
            hook_lineage_collector().add_output_asset(self.hook, uri=asset.uri)
        events = context.get("outlet_events")
        if not self.emit_events or events is None:  # code that calls execute by itself gives a smaller context
            return
        row_id, started = f"{what}_id", getattr(context["ti"], "start_date", None)
        more: Mapping[str, Any] = {}
        with best_effort(self.log, f"What uses {what} {facts[row_id]}"):
            more = also(facts)
        known = {
            **facts,
            **more,
            "duration": round(time.time() - started.timestamp(), 1) if started else None,
            "link": self.hook.row_url(f"msdynmkt_{what}", facts[row_id]),
        }
        extra = {name: known[name] for name in (row_id, *_FACTS) if known.get(name) not in (None, "")}
        if not TAKES_OBJECTS_IN_EVENTS:
            extra = {name: value for name, value in extra.items() if not isinstance(value, (dict, list))}
        events[EVENTS].add(asset, extra=extra)


def _with_alias(outlets: Any) -> list[Any]:
    """Return outlets with the alias of the events."""
    given = list(outlets) if isinstance(outlets, (list, tuple, set)) else [outlets] if outlets else []
    return given if EVENTS in given else [*given, EVENTS]
