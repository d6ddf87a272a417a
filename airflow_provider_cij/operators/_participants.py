"""Export who is in a journey, behind ``operators.journeys``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cij._arguments import word_list
from airflow_provider_cij._base import log_group
from airflow_provider_cij.api.journeys.participants import STATES
from airflow_provider_cij.files import check_writable, writing_if_given
from airflow_provider_cij.links import CijJourneyLink
from airflow_provider_cij.operators._emitting import EmitsEvents

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.journeys.models import Journey

_COLUMNS = ("table", "id", "state", "entered_on", "changed_on")


class CijExportJourneyParticipantsOperator(EmitsEvents):
    """Count who is in which state of a journey, and write the people to a CSV or Parquet file. Changes nothing.

    The file has the columns ``table``, ``id``, ``state``, ``entered_on`` and ``changed_on``. It appears when it is
    whole, in place of an older one. ``FromFile(path, "id")`` reads the ids, such as those whose message failed.

    A person who entered several times has several rows. The service lists rows in no order, and while people move on:
    one whose state changes meanwhile may be missing or counted twice.

    Source: the table reference of msdynmkt_journeyinstance.

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param path: the file to write, in a folder that exists, or a URL that Airflow's ``ObjectStoragePath`` takes.
        Default None, people are counted only
    :param states: the states to read: ``in_progress``, ``completed``, ``completed_by_exit_event``,
        ``completed_by_suppression_segment``, ``completed_by_journey_stopped``, ``completed_by_action_failure``. Default
        all
    :param emit_events: False emits no event on the journey's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "status", "count", "states": {state: count}, "path"}``
    :raises AirflowFailException: there is no such journey or folder, or the application user lacks the privilege to
        read ``msdynmkt_journeyinstance``, which the marketing roles do not have
    """

    operator_extra_links = (CijJourneyLink(),)
    readers: ClassVar = {"states": word_list(*STATES.values())}

    def __init__(self, *, journey_id: str, path: str | None = None, states: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id
        self.path = path
        self.states = states

    def _execute(self, context: Context) -> dict[str, Any]:
        """List the participants, count and write them."""
        check_writable(self.path)
        with log_group(self.log, f"Read participants of journey {self.journey_id}"):
            journey, counts = self.call(lambda cij: self._export(cij, context))
        total = counts.total()
        for state, count in counts.most_common():
            self.log.info("%s %s", f"{count:,}", state.replace("_", " "))
        self.log.info("Journey %r (%s) has %s participants", journey.name, journey.journey_id, f"{total:,}")
        running = {} if self.states and "in_progress" not in self.states else {"member_count": counts["in_progress"]}
        known = {"name": journey.name, "audience": journey.audience, "read": total, "states": dict(counts)}
        facts = {**journey.summary(), **known, **running}
        self.emit_journey(context, facts)
        return {**journey.summary(), "count": total, "states": dict(counts), "path": self.path}

    async def _export(self, cij: Cij, context: Context) -> tuple[Journey, Counter[str]]:
        from airflow_provider_cij.api.journeys.models import FOR_VALIDATION
        from airflow_provider_cij.api.journeys.participants import participants

        journey = await cij.journeys.get(self.journey_id, FOR_VALIDATION)
        self.show_link(context, journey.summary(), journey.name)
        counts: Counter[str] = Counter()
        async with writing_if_given(self.path, _COLUMNS) as file:
            async for page in participants(cij.dataverse, journey.journey_id, self.states):
                counts.update(participant.state for participant in page)
                if file:
                    file.write([(who.table, who.person_id, who.state, who.entered_on, who.changed_on) for who in page])
        return journey, counts
