"""What an import changes of one address's rows. Pure.

The rule above all others: a "no" is turned into a yes only by a yes that was given later, and under ``always`` never
when it is the person's own. Where two dates are equal, or a second may hide which came first, the "no" stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from airflow_provider_cij.api.consent.columns import INTERNAL
from airflow_provider_cij.api.consent.marker import marker_of, said_at
from airflow_provider_cij.api.consent.rules import ConsentRow, ConsentValue

IF_SOURCE_NEWER, ALWAYS, NEVER = "if_source_newer", "always", "never"
CREATED, UPDATED, UNCHANGED, KEPT_NEWER, FAILED = "created", "updated", "unchanged", "kept_newer", "failed"
_LOADED = 534120003
# Sources that are no choice of the person: Internal, and "Load consent". Unknown ones count as the person's.
_NOT_PERSONAL = (None, INTERNAL, _LOADED)


@dataclass(frozen=True)
class Statement:
    """What a source says about an address.

    :param address: the address as the source spells it
    :param value: opted in or opted out
    :param given_at: when that was said; None only for an opt-out, which then counts as said now
    :param reason: a text for the row's readers; default empty
    :param line: the line of the source; default 0
    :param spelled: the address with the blanks around it, if there are any; default empty
    """

    address: str
    value: ConsentValue
    given_at: datetime | None
    reason: str = ""
    line: int = 0
    spelled: str = field(default="", compare=False)


@dataclass(frozen=True)
class Plan:
    """What is written for one statement.

    :param outcome: ``created``, ``updated``, ``unchanged`` or ``kept_newer``
    :param create: whether a row is created; default False
    :param to_yes: the rows that are turned into opt-ins, each by its version
    :param to_no: the rows that are turned into opt-outs, or dated anew
    :param repaired: our own opt-ins that a later "no" contradicts, and the date of that "no"
    """

    outcome: str
    create: bool = False
    to_yes: Sequence[ConsentRow] = ()
    to_no: Sequence[ConsentRow] = ()
    repaired: Sequence[tuple[ConsentRow, datetime]] = field(default=())


def plan(statement: Statement, rows: Sequence[ConsentRow], overwrite: str) -> Plan:
    """Decide what a statement changes.

    :param statement: what the source says
    :param rows: all rows of the address for the channel and the purpose or topic, with versions
    :param overwrite: ``if_source_newer``, ``always`` or ``never``
    """
    repaired = _contradicted(rows)
    broken = {row.row_id for row, _ in repaired}
    if statement.value is ConsentValue.OPTED_IN and any(_near_no(row) for row in rows):
        return Plan(KEPT_NEWER, repaired=repaired)  # it may be of another person: neither overruled nor changed
    sound = [row for row in rows if not row.near and row.row_id not in broken]
    if not sound and not broken:
        return Plan(CREATED, create=True)
    outcome, to_write = _writes(statement, sound, overwrite)
    to_yes, to_no = (to_write, ()) if statement.value is ConsentValue.OPTED_IN else ((), to_write)
    return Plan(outcome, False, to_yes, to_no, repaired)


def _writes(statement: Statement, rows: Sequence[ConsentRow], overwrite: str) -> tuple[str, Sequence[ConsentRow]]:
    different = [row for row in rows if row.value != statement.value]
    if overwrite == NEVER:
        return (KEPT_NEWER if different else UNCHANGED), ()
    if statement.value is ConsentValue.OPTED_IN:
        allowed = all(_gives_way(row, statement, overwrite) for row in different)
        return (KEPT_NEWER, ()) if not allowed else (UPDATED if different else UNCHANGED, different)
    if overwrite == IF_SOURCE_NEWER and any(_is_later_yes(row, statement) for row in different):
        return KEPT_NEWER, ()
    # A "no" that was repeated is dated anew, so that a yes from between the two comes too late.
    given = statement.given_at
    older = [row for row in rows if row.value == statement.value and given is not None and said_at(row) < given]
    return (UPDATED if different else UNCHANGED), [*different, *older]


def _near_no(row: ConsentRow) -> bool:
    return row.near and row.value == ConsentValue.OPTED_OUT


def _gives_way(row: ConsentRow, statement: Statement, overwrite: str) -> bool:
    """Return whether a row that is no opt-in may be turned into one."""
    if overwrite == ALWAYS and row.source not in _NOT_PERSONAL and row.value == ConsentValue.OPTED_OUT:
        return False
    if statement.given_at is None:
        return False
    # The service's times have whole seconds: within one, the row may be the later one.
    given = statement.given_at.replace(microsecond=0)
    marker = marker_of(row)
    if marker and marker.written_at < given <= row.modified_on:  # others may have confirmed the "no" after that
        return False
    return given > said_at(row)


def _is_later_yes(row: ConsentRow, statement: Statement) -> bool:
    given = statement.given_at
    return row.value == ConsentValue.OPTED_IN and given is not None and given < said_at(row)


def _contradicted(rows: Sequence[ConsentRow]) -> list[tuple[ConsentRow, datetime]]:
    """Return our own opt-ins that are no later than a "no" in another row: one made while ours was being written."""
    said_no = [said_at(row) for row in rows if row.value == ConsentValue.OPTED_OUT]
    if not said_no:
        return []
    latest = max(said_no)
    return [
        (row, latest)
        for row in rows
        if row.value == ConsentValue.OPTED_IN and marker_of(row) is not None and said_at(row) <= latest
    ]
