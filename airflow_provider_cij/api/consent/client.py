"""Consent of contact points: read it, write it, and find the people of a list who have opted out.

Source: the documents on consent records, and the table reference of msdynmkt_contactpointconsent4. There is one row for
each contact point (an address, not a person), channel and purpose or topic. The table has no alternate key.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.consent.rules import Channel, ConsentTo, ConsentValue
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.match import TABLES, normalize
from airflow_provider_cij.dataverse.guids import normalize_guid, pack_guids
from airflow_provider_cij.dataverse.odata import (
    URL_LIMIT,
    in_filter,
    in_literal,
    literal,
    query,
    quote_option,
    row_path,
)
from airflow_provider_cij.dataverse.responses import DUPLICATE
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijForbiddenError,
    CijInputError,
    CijServerError,
    CijUnavailableError,
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
            if await _private(f"Creating a row of {CONSENTS}", self._create(row)):
                return True
            rows = [{_ID: row_id}]  # another client created it since the search
        differing = [row[_ID] for row in rows if row.get(_VALUE) != value]
        for row_id in differing:
            change = self._client.patch(row_path(CONSENTS, row_id), consent)
            await _private(f"Changing {CONSENTS}({row_id})", change)
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
        rows = await _private(f"GET {CONSENTS}", self._client.rows(path))
        # The service compares accents more widely than addresses do.
        return [row for row in rows if normalize(str(row.get(_POINT)).strip()) == normalize(contact_point.strip())]


async def opted_out(client: DataverseClient, ids: IdSet, table: str, to: ConsentTo = _COMMERCIAL_TO) -> IdSet:
    """Return the people of a list whose e-mail address has opted out of a purpose, or of the given topic.

    A person without an address has not opted out. This is less than what the service decides when it sends. It does not
    know:

    - the enforcement model of the purpose and channel: under a restrictive one, a missing row blocks as well; under a
      disabled one, people who have opted out get mail;
    - addresses in other columns than ``emailaddress1``, and other channels;
    - that the latest of several rows counts: any row that says no leaves the person out;
    - business units and compliance profiles.

    :param client: an open client; its ``max_concurrency`` is the number of batches at once
    :param ids: the ids of the people
    :param table: ``contact`` or ``lead``
    :param to: the purpose, or the topic; default the purpose "Commercial"
    :return: the ids of those who have opted out
    :raises CijInputError: there is no such table
    """
    if table not in TABLES:
        raise CijInputError(f"The table is {table!r}.", hint=f"Consent is known of {' and '.join(TABLES)}.")
    entity_set, id_column = TABLES[table]
    topic = f"({_of_purpose(to)} or {_of_topic(to)})" if to.topic else _of_purpose(to)
    out = IdSet()

    async def rows_of(path: str) -> list[dict[str, Any]]:
        return [row async for rows in client.pages(path) for row in rows]

    async def work(batch: list[str]) -> None:
        path = query(entity_set, select=(id_column, "emailaddress1"), where=in_filter(id_column, batch))
        people: dict[str, list[str]] = {}
        for row in await rows_of(path):
            if address := normalize(str(row.get("emailaddress1") or "").strip()):
                people.setdefault(address, []).append(str(row.get(id_column)))
        for addresses in _fitting_url(people):
            where = (
                f"{in_filter(_POINT, addresses)} and msdynmkt_contactpointtype eq {int(Channel.EMAIL)} "
                f"and {_VALUE} eq {int(ConsentValue.OPTED_OUT)} and {topic}"
            )
            found = await _private(f"GET {CONSENTS}", rows_of(query(CONSENTS, select=(_POINT,), where=where)))
            for address in {normalize(str(row.get(_POINT)).strip()) for row in found}:
                out.update(pack_guids(people.get(address, ()))[0])

    await for_each(ids.batches(_IDS_A_QUERY), work, client.settings.max_concurrency)
    return out


def _fitting_url(values: Iterable[str]) -> Iterator[list[str]]:
    """Yield values in batches that fit into a URL."""
    part: list[str] = []
    room = _ROOM
    for value in values:
        length = len(quote_option(f"{in_literal(value)},"))
        if part and length > room:
            yield part
            part, room = [], _ROOM
        part.append(value)
        room -= length
    if part:
        yield part


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


async def _private(what: str, work: Awaitable[T]) -> T:
    """Await work, and raise its error without the service's words, which may repeat an address."""
    failure: CijError
    try:
        return await work
    except (CijForbiddenError, CijUnavailableError):
        raise  # these name a privilege or a table
    except CijError as error:
        if error.http_status is None and not isinstance(error, CijServerError):
            raise  # our own words
        failure = error
    # Out of the handler: the service's words must not come along as its context.
    message = f"{what} failed. The service's words are withheld: they may repeat an address."
    raise CijError.from_dict(failure.as_dict() | {"message": message})
