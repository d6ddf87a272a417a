"""Consent of contact points: read it, write it, and find the people of a list who have opted out.

Source: the documents on consent records, and the table reference of msdynmkt_contactpointconsent4. There is one row for
each contact point (an address, not a person), channel and purpose or topic. The table has no alternate key.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_cij.api.consent.private import private
from airflow_provider_cij.api.consent.rules import Channel, ConsentTo, ConsentValue
from airflow_provider_cij.api.members.match import normalize
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import (
    URL_LIMIT,
    literal,
    query,
    row_path,
)
from airflow_provider_cij.dataverse.responses import DUPLICATE
from airflow_provider_cij.errors import (
    CijConflictError,
    CijInputError,
)

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

T = TypeVar("T")

CONSENTS, _ID = "msdynmkt_contactpointconsent4s", "msdynmkt_contactpointconsent4id"
_POINT, _VALUE = "msdynmkt_contactpointvalue", "msdynmkt_value"
_PURPOSE, _TOPIC = 534120000, 534120001
_COMMERCIAL_TO = ConsentTo()
# In a URL of 32,768 characters there is room for 700.
_IDS_A_QUERY = 500
# The rest of the URL is for all but the addresses, and for the cookie of a further page.
_ROOM = URL_LIMIT - 4096


class Consents:
    """The verbs on consent, over one open client. None of their errors holds an address.

    :param client: an open client
    """

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    async def get(
        self, contact_point: str, to: ConsentTo = _COMMERCIAL_TO, channel: Channel = Channel.EMAIL
    ) -> ConsentValue:
        """Read the consent of a contact point. Where several rows disagree, opted out counts.

        :param contact_point: an e-mail address or a phone number
        :param to: the purpose, or the topic: then the topic's own row is read, not its purpose's. Default the purpose
            "Commercial"
        :param channel: the channel; default ``EMAIL``
        :return: the consent; ``NOT_SET`` when there is no row
        :raises CijInputError: the contact point is empty
        """
        values = {row.get(_VALUE) for row in await self._rows(contact_point, to, channel)}
        order = (ConsentValue.OPTED_OUT, ConsentValue.OPTED_IN)
        return next((value for value in order if value in values), ConsentValue.NOT_SET)

    async def set(
        self,
        contact_point: str,
        value: ConsentValue,
        to: ConsentTo = _COMMERCIAL_TO,
        channel: Channel = Channel.EMAIL,
        reason: str = "",
    ) -> bool:
        """Write the consent of a contact point: update its rows that differ, or create one. Idempotent.

        :param contact_point: an e-mail address or a phone number
        :param value: the consent
        :param to: the purpose, or the topic; default the purpose "Commercial"
        :param channel: the channel; default ``EMAIL``
        :param reason: a text that the row's readers see; default empty, none is written
        :return: True when anything was written
        :raises CijInputError: the contact point is empty
        """
        consent = {_VALUE: int(value), **({"msdynmkt_reason": reason} if reason else {})}
        rows = await self._rows(contact_point, to, channel)
        if not rows:
            row_id = _row_id(contact_point, to, channel)
            row = {_ID: row_id, _POINT: contact_point.strip(), "msdynmkt_contactpointtype": int(channel), **consent}
            row |= _topic_columns(to)
            if await private(f"Creating a row of {CONSENTS}", self._create(row)):
                return True
            rows = [{_ID: row_id}]  # another client created it since the search
        differing = [row[_ID] for row in rows if row.get(_VALUE) != value]
        for row_id in differing:
            change = self._client.patch(row_path(CONSENTS, row_id), consent)
            await private(f"Changing {CONSENTS}({row_id})", change)
        return bool(differing)

    async def _create(self, row: dict[str, Any]) -> bool:
        try:
            await self._client.post(CONSENTS, row, repeatable=True)
        except CijConflictError as error:
            if error.code.lower() == DUPLICATE:
                raise
            return False
        return True

    async def _rows(self, contact_point: str, to: ConsentTo, channel: Channel) -> list[dict[str, Any]]:
        if not contact_point.strip():
            raise CijInputError("The contact point is empty.", hint="Give an e-mail address or a phone number.")
        where = (
            f"{_POINT} eq {literal(contact_point.strip())} and msdynmkt_contactpointtype eq {int(channel)} "
            f"and {_of_topic(to) if to.topic else _of_purpose(to)}"
        )
        path = query(CONSENTS, select=(_ID, _POINT, _VALUE), where=where)
        rows = await private(f"GET {CONSENTS}", self._client.rows(path))
        # The service compares accents more widely than addresses do.
        return [row for row in rows if normalize(str(row.get(_POINT)).strip()) == normalize(contact_point.strip())]


def _of_purpose(to: ConsentTo) -> str:
    purpose = normalize_guid(to.purpose, "purpose_id")
    return f"(msdynmkt_contactpointconsenttype eq {_PURPOSE} and _msdynmkt_purposeid_value eq {purpose})"


def _of_topic(to: ConsentTo) -> str:
    topic = normalize_guid(to.topic, "topic_id")
    return f"(msdynmkt_contactpointconsenttype eq {_TOPIC} and _msdynmkt_topicid_value eq {topic})"


def _topic_columns(to: ConsentTo) -> dict[str, Any]:
    topic = (
        {"msdynmkt_topicId@odata.bind": f"/msdynmkt_topics({normalize_guid(to.topic, 'topic_id')})"} if to.topic else {}
    )
    return {
        "msdynmkt_contactpointconsenttype": _TOPIC if to.topic else _PURPOSE,
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({normalize_guid(to.purpose, 'purpose_id')})",
        **topic,
    }


def _row_id(contact_point: str, to: ConsentTo, channel: Channel) -> str:
    """Return a row id derived from what the row is about, so that a second try can only find the first."""
    words = (
        str(int(channel)),
        normalize(contact_point.strip()),
        normalize_guid(to.purpose),
        normalize_guid(to.topic) if to.topic else "",
    )
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"airflow-provider-cij:consent:{':'.join(words)}"))
