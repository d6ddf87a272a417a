"""Who wants to be written to: read, set, and kept out of lists.

Source: the documents on consent records, and the table reference of msdynmkt_contactpointconsent4: a row a contact
point (an address, not a person), channel and purpose or topic. There is no alternate key.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.consent.rules import ConsentTo
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.match import normalize
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
_TABLES = {"contact": ("contacts", "contactid"), "lead": ("leads", "leadid")}
# In a URL of 32,768 characters there is room for 700.
_IDS_A_QUERY = 500
# Of the URL, for all but the addresses, and for the cookie of a further page.
_ROOM = URL_LIMIT - 4096


class ConsentValue(IntEnum):
    """``msdynmkt_value``."""

    NOT_SET = 534120000
    OPTED_IN = 534120001
    OPTED_OUT = 534120002


class Channel(IntEnum):
    """``msdynmkt_contactpointtype``: what a contact point is."""

    EMAIL = 534120000
    TEXT = 534120001
    CUSTOM = 534120002


class Consents:
    """The verbs on consent, over one open client. No error of theirs holds an address."""

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    async def get(
        self, contact_point: str, to: ConsentTo = _COMMERCIAL_TO, channel: Channel = Channel.EMAIL
    ) -> ConsentValue:
        """Read what somebody has said; where rows disagree, "no" counts.

        :param contact_point: an e-mail address or a phone number
        :param to: what it is about; a topic's own row is read, not its purpose's
        :param channel: what the contact point is
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
        """Write what somebody has said: searches first, then updates or creates.

        :param contact_point: an e-mail address or a phone number
        :param value: what they said
        :param to: what it is about
        :param channel: what the contact point is
        :param reason: a text for people
        :return: whether anything was written
        """
        said = {_VALUE: int(value), **({"msdynmkt_reason": reason} if reason else {})}
        rows = await self._rows(contact_point, to, channel)
        if not rows:
            row_id = _row_id(contact_point, to, channel)
            row = {_ID: row_id, _POINT: contact_point.strip(), "msdynmkt_contactpointtype": int(channel), **said}
            row |= _about(to)
            if await _private(f"Creating a row of {CONSENTS}", self._create(row)):
                return True
            rows = [{_ID: row_id}]  # it came into being since we looked
        differing = [row[_ID] for row in rows if row.get(_VALUE) != value]
        for row_id in differing:
            change = self._client.patch(row_path(CONSENTS, row_id), said)
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
            f"and {_of_topic(to) if to.topic_id else _of_purpose(to)}"
        )
        path = query(CONSENTS, select=(_ID, _POINT, _VALUE), where=where)
        rows = await _private(f"GET {CONSENTS}", self._client.rows(path))
        # The service sees accents more widely than an address does.
        return [row for row in rows if normalize(str(row.get(_POINT)).strip()) == normalize(contact_point.strip())]


async def opted_out(client: DataverseClient, ids: IdSet, table: str, to: ConsentTo = _COMMERCIAL_TO) -> IdSet:
    """Find those of a list whose e-mail address has opted out of a purpose, or of the topic that is given.

    Who has no address has said nothing. This is less than what the service decides when it sends. It does not know:

    - the enforcement model of the purpose and channel: under a restrictive one, no row blocks as well; under a disabled
      one, opted-out people are mailed;
    - addresses in other columns than ``emailaddress1``, and other channels;
    - that the latest of several rows counts: any row that says no leaves the person out;
    - business units and compliance profiles.

    :param client: open; its ``max_concurrency`` says how many batches at once
    :param ids: whom to look at
    :param table: ``contact`` or ``lead``
    :param to: what it is about
    """
    if table not in _TABLES:
        raise CijInputError(f"The table is {table!r}.", hint=f"Consent is known of {' and '.join(_TABLES)}.")
    entity_set, id_column = _TABLES[table]
    about = f"({_of_purpose(to)} or {_of_topic(to)})" if to.topic_id else _of_purpose(to)
    out = IdSet()

    async def rows_of(path: str) -> list[dict[str, Any]]:
        return [row async for rows in client.pages(path) for row in rows]

    async def work(batch: list[str]) -> None:
        path = query(entity_set, select=(id_column, "emailaddress1"), where=in_filter(id_column, batch))
        people: dict[str, list[str]] = {}
        for row in await rows_of(path):
            if address := normalize(str(row.get("emailaddress1") or "").strip()):
                people.setdefault(address, []).append(str(row.get(id_column)))
        for addresses in _by_room(people):
            where = (
                f"{in_filter(_POINT, addresses)} and msdynmkt_contactpointtype eq {int(Channel.EMAIL)} "
                f"and {_VALUE} eq {int(ConsentValue.OPTED_OUT)} and {about}"
            )
            found = await _private(f"GET {CONSENTS}", rows_of(query(CONSENTS, select=(_POINT,), where=where)))
            for address in {normalize(str(row.get(_POINT)).strip()) for row in found}:
                out.update(pack_guids(people.get(address, ()))[0])

    await for_each(ids.batches(_IDS_A_QUERY), work, client.settings.max_concurrency)
    return out


def _by_room(values: Iterable[str]) -> Iterator[list[str]]:
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
    purpose = normalize_guid(to.purpose_id, "purpose_id")
    return f"(msdynmkt_contactpointconsenttype eq {_PURPOSE} and _msdynmkt_purposeid_value eq {purpose})"


def _of_topic(to: ConsentTo) -> str:
    topic = normalize_guid(to.topic_id, "topic_id")
    return f"(msdynmkt_contactpointconsenttype eq {_TOPIC} and _msdynmkt_topicid_value eq {topic})"


def _about(to: ConsentTo) -> dict[str, Any]:
    topic = (
        {"msdynmkt_topicId@odata.bind": f"/msdynmkt_topics({normalize_guid(to.topic_id, 'topic_id')})"}
        if to.topic_id
        else {}
    )
    return {
        "msdynmkt_contactpointconsenttype": _TOPIC if to.topic_id else _PURPOSE,
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({normalize_guid(to.purpose_id, 'purpose_id')})",
        **topic,
    }


def _row_id(contact_point: str, to: ConsentTo, channel: Channel) -> str:
    """Name the row by what it is about: a second try can only find the first."""
    words = (
        str(int(channel)),
        normalize(contact_point.strip()),
        normalize_guid(to.purpose_id),
        to.topic_id and normalize_guid(to.topic_id),
    )
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"airflow-provider-cij:consent:{':'.join(words)}"))


async def _private(what: str, work: Awaitable[T]) -> T:
    """Do something; its error does not carry the service's words, which may repeat an address."""
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
    said = f"{what} failed. The service's words are withheld: they may repeat an address."
    raise CijError.from_dict(failure.as_dict() | {"message": said})
