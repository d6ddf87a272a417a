"""Decide about the people of a list, in batches: who would be mailed, and who is left out for what reason."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.consent.asking import ACTION, ConsentCheck, discover
from airflow_provider_cij.api.consent.consent_to import AS_SERVICE, NOT_OPTED_OUT, ConsentTo
from airflow_provider_cij.api.consent.reading import address_key, read_rows, spellings
from airflow_provider_cij.api.consent.rules import (
    NO_ADDRESS,
    NOT_SET,
    OPTED_OUT,
    UNKNOWN,
    ConsentValue,
    Decision,
    Outcome,
    decide,
)
from airflow_provider_cij.api.consent.target import Target, recipient_column, resolve
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.match import TABLES
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.dataverse.odata import in_filters, query
from airflow_provider_cij.errors import CijInputError, CijRefusedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

REASONS = (OPTED_OUT, NOT_SET, UNKNOWN, NO_ADDRESS)
"""Why people are left out, as they are counted."""
# As many ids as a URL holds.
_IDS_A_BATCH = 700

OnLeftOut = Callable[[Sequence[tuple[str, str]]], None]
"""Called with ids of people who are left out, and the reason of each."""


@dataclass(frozen=True)
class Screening:
    """What became of a list.

    :param left_out: the ids of the people who are left out
    :param counts: how many, by each of ``REASONS``
    """

    left_out: IdSet
    counts: Mapping[str, int]


class Decider:
    """Decides about addresses for one ``ConsentTo``: by the service itself where it can be asked, or by its tables.

    :param client: an open client
    :param target: what ``to`` stands for in the organisation
    :param to: what is sent, and what its recipients must have consented to
    :param check: the service's own action; None, the tables decide
    """

    def __init__(self, client: DataverseClient, target: Target, to: ConsentTo, check: ConsentCheck | None) -> None:
        self._client = client
        self._target = target
        self._to = to
        self._check = check

    @classmethod
    async def of(cls, client: DataverseClient, to: ConsentTo) -> Decider:
        """Look up what a ``ConsentTo`` stands for, and log what will decide.

        :param client: an open client
        :param to: what is sent, and what its recipients must have consented to
        :raises CijInputError: there is no such purpose, topic or compliance profile
        """
        target = await resolve(client, to)
        check, why = None, "that needs no decision of the service"
        if to.require != NOT_OPTED_OUT:
            check, why = await discover(client, target)
        about = f"purpose {target.purpose_id}" + (f", topic {target.topic_id}" if target.topic_id else "")
        if check:
            log.info("Consent to %s is decided by the service (%s)", about, ACTION)
        else:
            log.info("Consent to %s is decided by the consent tables: %s", about, why)
        return cls(client, target, to, check)

    async def decisions(self, addresses: Iterable[object]) -> dict[str, Decision]:
        """Return the decision about each address, by its ``address_key``.

        :param addresses: the addresses as they are stored: each is asked about as it is spelled, and without the blanks
            around it
        :raises CijError: a request failed; the error holds no address
        """
        spelled = spellings(addresses)
        rows = await read_rows(self._client, spelled, self._target)
        found = {key: decide(rows.get(key, ()), self._target.rule) for key in spelled}
        if not self._check:
            return found
        # A "no" already excludes the address: the service is not asked about it.
        asked = [
            key
            for key, decision in found.items()
            if self._to.require == AS_SERVICE or decision.value is not ConsentValue.OPTED_OUT
        ]
        answers = await self._check.ask([text for key in asked for text in spelled[key]])
        if answers is None:
            return found
        provided = any(profile.has_provider for profile in self._target.rule.profiles)
        return found | {key: _as_answered(found[key], answers.get(key), provided=provided) for key in asked}


def _as_answered(by_tables: Decision, answer: bool | None, *, provided: bool) -> Decision:
    if answer is None:
        return replace(by_tables, outcome=Outcome.UNKNOWN, reason="the service gives no answer about the address")
    # Where an external provider decides, the tables say nothing: its yes is all that is known.
    value = ConsentValue.NOT_SET if provided and answer else by_tables.value
    outcome = Outcome.WILL_SEND if answer else Outcome.WILL_NOT_SEND
    return Decision(outcome, f"the service {'would' if answer else 'would not'} send", value)


async def screen(
    client: DataverseClient, ids: IdSet, table: str, to: ConsentTo, on_left_out: OnLeftOut | None = None
) -> Screening:
    """Find the people of a list who would not be mailed.

    :param client: an open client; its ``max_concurrency`` is the number of batches at once
    :param ids: the ids of the people
    :param table: ``contact`` or ``lead``
    :param to: what is sent, and what its recipients must have consented to
    :param on_left_out: called with the ids that are left out, and why. Default None
    :return: the ids that are left out, and their number by reason. People who are not in the table are ``unknown``;
        people without an address are ``no_address``, and stay with ``require="not_opted_out"``
    :raises CijInputError: there is no such table, purpose, topic or profile, or the address column is not clear
    :raises CijError: a request failed; the error holds no address
    """
    if table not in TABLES:
        raise CijInputError(f"The table is {table!r}.", hint=f"Consent is known of {' and '.join(TABLES)}.")
    entity_set, id_column = TABLES[table]
    column = await recipient_column(client, to, table)
    decider = await Decider.of(client, to)
    left_out, counts = IdSet(), Counter[str]()

    async def work(batch: list[str]) -> None:
        reasons = dict.fromkeys(batch, UNKNOWN)
        people: dict[str, list[str]] = {}
        stored: list[object] = []
        for where in in_filters(id_column, batch):
            path = query(entity_set, select=(id_column, column), where=where)
            for row in await _people(client, path):
                person, address = str(row.get(id_column)).lower(), address_key(row.get(column))
                if address:
                    people.setdefault(address, []).append(person)
                    stored.append(row.get(column))
                else:
                    reasons[person] = "" if to.require == NOT_OPTED_OUT else NO_ADDRESS
        for address, decision in (await decider.decisions(stored)).items():
            reason = decision.left_out(to.require)
            reasons.update(dict.fromkeys(people[address], reason))
        out = [(person, reason) for person, reason in reasons.items() if reason]
        counts.update(reason for _, reason in out)
        left_out.update(pack_guids([person for person, _ in out])[0])
        if out and on_left_out:
            on_left_out(out)

    await for_each(ids.batches(_IDS_A_BATCH), work, client.settings.max_concurrency)
    return Screening(left_out, {reason: counts[reason] for reason in REASONS})


async def _people(client: DataverseClient, path: str) -> list[dict[str, Any]]:
    try:
        return await client.all_rows(path)
    except CijRefusedError as error:
        error.hint = error.hint or "Is the recipient column a column of the table?"
        raise
