"""Who is in a journey, and how far: msdynmkt_journeyinstances.

Source: the table reference of msdynmkt_journeyinstance. The table is elastic: pages come in no order, and a row that
changes meanwhile may be seen twice or not at all. A journey that was edited while live has several versions: people who
entered an earlier one are found by the first version's id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import literal, query
from airflow_provider_cij.errors import CijForbiddenError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

STATES: Mapping[int, str] = {
    534121000: "in_progress",
    534121001: "completed",
    534121002: "completed_by_exit_event",
    534121003: "completed_by_suppression_segment",
    534121004: "completed_by_journey_stopped",
    534121005: "completed_by_action_failure",
}
"""``msdynmkt_journeyinstancestate`` in words. An unknown code stays ``state <code>``."""

_INSTANCES, _STATE, _TARGET = "msdynmkt_journeyinstances", "msdynmkt_journeyinstancestate", "msdynmkt_targetid"
_COLUMNS = (_TARGET, "msdynmkt_targetentity", _STATE, "createdon", "modifiedon")


@dataclass(frozen=True)
class Participant:
    """One person's way through a journey.

    :param table: the person's table, ``contact`` or ``lead``
    :param person_id: the person's id
    :param state: one of ``STATES``
    :param entered_on: when the person entered, as the service writes it
    :param changed_on: when the state changed last, as the service writes it
    """

    table: str
    person_id: str
    state: str
    entered_on: str
    changed_on: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Participant:
        """Read a row."""
        code = row.get(_STATE)
        return cls(
            str(row.get("msdynmkt_targetentity") or ""),
            str(row.get(_TARGET) or "").lower(),
            STATES.get(code, f"state {code}") if isinstance(code, int) else "",
            str(row.get("createdon") or ""),
            str(row.get("modifiedon") or ""),
        )


async def participants(
    client: DataverseClient, journey_id: str, states: Collection[str] = ()
) -> AsyncIterator[list[Participant]]:
    """List the participants of a journey, page by page, in no order.

    :param client: open
    :param journey_id: the journey
    :param states: those of ``STATES`` to list; default all
    :raises CijForbiddenError: the application user may not read the table; the hint names the privilege
    """
    wanted = literal(normalize_guid(journey_id, "journey_id"))
    where = f"(msdynmkt_journeydefinitionid eq {wanted} or msdynmkt_baseversionjourneyid eq {wanted})"
    if states:
        where += f" and ({' or '.join(f'{_STATE} eq {code}' for code, name in STATES.items() if name in states)})"
    try:
        async for page in client.pages(query(_INSTANCES, select=_COLUMNS, where=where)):
            yield [Participant.of(row) for row in page]
    except CijForbiddenError as error:
        error.hint = (
            "Give the application user a role with prvReadmsdynmkt_journeyinstance (organisation level): the marketing "
            "roles do not have it."
        )
        raise
