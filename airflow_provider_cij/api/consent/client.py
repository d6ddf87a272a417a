"""Consent of one address: read what it says, write it, and decide about it.

Source: the documents on consent records, and the table reference of msdynmkt_contactpointconsent4. There is one row or
several for each contact point (an address, not a person), channel and purpose or topic. The table has no alternate key.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_cij.api.consent.bulk import ConsentImport
from airflow_provider_cij.api.consent.consent_to import CHANNELS, Channel, ConsentTo
from airflow_provider_cij.api.consent.import_plan import CREATED, FAILED, IF_SOURCE_NEWER, UPDATED, Statement
from airflow_provider_cij.api.consent.reading import address_key, read_rows, spellings
from airflow_provider_cij.api.consent.rules import ConsentValue, Decision, value_in_any_world
from airflow_provider_cij.api.consent.screening import Decider
from airflow_provider_cij.api.consent.target import resolve
from airflow_provider_cij.errors import CijError, CijInputError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_COMMERCIAL_TO = ConsentTo()


class Consents:
    """The verbs on consent, over one open client. None of their errors holds an address.

    :param client: an open client
    """

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    async def get(
        self, contact_point: str, to: ConsentTo = _COMMERCIAL_TO, channel: Channel | None = None
    ) -> ConsentValue:
        """Read what an address says about a purpose or topic, in the row that counts for the service.

        Where the business units or compliance profiles that may apply hold different values, the strictest counts.

        :param contact_point: an e-mail address or a phone number
        :param to: the purpose, or the topic: then the topic's own row is read, not its purpose's. Default the purpose
            "Commercial"
        :param channel: the channel; default None, that of ``to``
        :return: the consent; ``NOT_SET`` when there is no row
        :raises CijInputError: the contact point is empty, or there is no such purpose, topic or profile
        """
        to = _on(to, channel)
        key = _key(contact_point)
        target = await resolve(self._client, to)
        rows = (await read_rows(self._client, spellings([contact_point]), target)).get(key, [])
        return value_in_any_world(rows, target.rule, target.topic_id) or ConsentValue.NOT_SET

    async def set(
        self,
        contact_point: str,
        value: ConsentValue,
        to: ConsentTo = _COMMERCIAL_TO,
        channel: Channel | None = None,
        reason: str = "",
        given_at: datetime | None = None,
    ) -> bool:
        """Write what an address says: change all its rows that differ, or create one. Idempotent.

        An opt-in to a topic opts in to its purpose as well. A "no" that is later than ``given_at`` is left alone.

        :param contact_point: an e-mail address or a phone number
        :param value: opted in or opted out
        :param to: the purpose, or the topic; default the purpose "Commercial"
        :param channel: the channel; default None, that of ``to``
        :param reason: a text that the row's readers see; default empty
        :param given_at: when it was said, with a time zone; default None, now
        :return: True when anything was written
        :raises CijInputError: the contact point is empty, the value says neither yes nor no, or there is no such
            purpose, topic or profile
        :raises CijError: the service refuses
        """
        to = _on(to, channel)
        _key(contact_point)
        if value not in (ConsentValue.OPTED_IN, ConsentValue.OPTED_OUT):
            raise CijInputError(f"value is {value!r}.", hint="Give OPTED_IN or OPTED_OUT.")
        target = await resolve(self._client, to)
        if given_at is None and value == ConsentValue.OPTED_IN:
            given_at = datetime.fromtimestamp(time.time() + self._client.service_ahead, UTC)
        failed: list[tuple[int, str]] = []
        work = ConsentImport(self._client, target, IF_SOURCE_NEWER, on_failed=failed.extend)
        await work.write([Statement(contact_point, ConsentValue(value), given_at, reason)])
        if work.counts[FAILED]:
            code = failed[0][1].partition(":")[0]
            raise CijError(f"The consent was not written: {code}. The service's words are withheld.")
        return bool(work.counts[CREATED] or work.counts[UPDATED])

    async def decision(self, contact_point: str, to: ConsentTo = _COMMERCIAL_TO) -> Decision:
        """Decide whether a message goes to an address: by the service where it can be asked, or by its tables.

        :param contact_point: an e-mail address or a phone number
        :param to: what the message is about, and where it goes; default the purpose "Commercial" by e-mail
        :return: the outcome, the reason, and what the address says; ``left_out(to.require)`` tells whether ``to`` lets
            it pass
        :raises CijInputError: the contact point is empty, or there is no such purpose, topic or profile
        """
        key = _key(contact_point)
        return (await (await Decider.of(self._client, to)).decisions([contact_point]))[key]


def _key(contact_point: str) -> str:
    key = address_key(contact_point)
    if not key:
        raise CijInputError("The contact point is empty.", hint="Give an e-mail address or a phone number.")
    return key


def _on(to: ConsentTo, channel: Channel | None) -> ConsentTo:
    if channel is None:
        return to
    return replace(to, channel=next(name for name, known in CHANNELS.items() if known is channel))
