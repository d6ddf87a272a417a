"""What a ``ConsentTo`` means in an organisation: ids, enforcement model, business units, the column of the address.

Source: table reference of msdynmkt_purpose, msdynmkt_topic, msdynmkt_compliancesettings4 and
msdynmkt_contactpointsettings. The format of the settings' columns is in no document: one column name, or several with
commas between or as a JSON list, are read; anything else is refused, and the caller names the column.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.consent import columns
from airflow_provider_cij.api.consent.consent_to import Channel, ConsentTo
from airflow_provider_cij.api.consent.rules import Profile, Rule
from airflow_provider_cij.dataverse.guids import normalize_guid, parse_guid
from airflow_provider_cij.dataverse.odata import in_filter, literal, query, row_path
from airflow_provider_cij.errors import CijInputError, CijNotFoundError, CijRefusedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

PURPOSES, TOPICS, PROFILES = "msdynmkt_purposes", "msdynmkt_topics", "msdynmkt_compliancesettings4s"
_PROFILES_OF_PURPOSE = "msdynmkt_msdynmkt_purpose_msdynmkt_compliancev4set"
_SETTINGS = "msdynmkt_contactpointsettingses"
_UNIT = "_owningbusinessunit_value"
_PROVIDER = "_msdynmkt_consentproviderid_value"
_MODELS = {
    Channel.EMAIL: "msdynmkt_enforcementmodel",
    Channel.TEXT: "msdynmkt_smsenforcementmodel",
    Channel.CUSTOM: "msdynmkt_customenforcementmodel",
    Channel.VOICE: "msdynmkt_voiceenforcementmodel",
}
_FIELDS = {
    Channel.EMAIL: "msdynmkt_emailaddressfields",
    Channel.TEXT: "msdynmkt_phonenumberfields",
    Channel.VOICE: "msdynmkt_phonenumberfields",
}
_COLUMN = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Target:
    """A purpose, or a topic of it, on one channel, as the organisation has them.

    :param purpose_id: the purpose's id
    :param topic_id: the topic's id; empty, the purpose alone
    :param channel: the channel
    :param rule: what the service decides by
    :param profile_ids: the ids of the compliance profiles that a message may have
    """

    purpose_id: str
    topic_id: str
    channel: Channel
    rule: Rule
    profile_ids: tuple[str, ...] = ()

    def where(self, *, alone: bool = False) -> str:
        """Return the ``$filter`` for the rows of the purpose and of the topic, on the channel.

        :param alone: True leaves out the purpose's rows where there is a topic; default False
        """
        about = f"({columns.KIND} eq {columns.OF_PURPOSE} and {columns.PURPOSE} eq {self.purpose_id})"
        if self.topic_id:
            topic = f"({columns.KIND} eq {columns.OF_TOPIC} and {columns.TOPIC} eq {self.topic_id})"
            about = topic if alone else f"({about} or {topic})"
        return f"{columns.POINT_TYPE} eq {int(self.channel)} and {about}"


async def resolve(client: DataverseClient, to: ConsentTo) -> Target:
    """Look up the purpose, topic and compliance profiles that consent is asked for.

    :param client: an open client
    :param to: what the message is about
    :return: their ids, and what the service decides by
    :raises CijInputError: there is no such purpose, topic or profile, several have the name, or the topic is of another
        purpose
    :raises CijRefusedError: the service does not let the profiles be read, and ``to`` names none
    """
    to.check()
    channel = to.contact_point_type
    purpose = await _found(client, PURPOSES, to.purpose, (_UNIT, _MODELS[channel]))
    purpose_id = str(purpose["msdynmkt_purposeid"]).lower()
    topic_id = ""
    if to.topic:
        lookup = "_msdynmkt_purposeid_value"
        topic = await _found(client, TOPICS, to.topic, (lookup,), f"{lookup} eq {purpose_id}")
        topic_id = str(topic["msdynmkt_topicid"]).lower()
        if str(topic.get(lookup)).lower() != purpose_id:
            raise CijInputError(
                f"Topic {topic_id} is not of purpose {purpose_id}, but of {topic.get(lookup)}.",
                hint="Give that one as purpose of ConsentTo.",
            )
    profiles = await _profiles(client, to, purpose_id)
    rule = Rule(
        purpose.get(_MODELS[channel]),
        str(purpose.get(_UNIT) or ""),
        topic_id,
        tuple(Profile(str(row.get(_UNIT) or ""), bool(row.get(_PROVIDER))) for row in profiles),
        to.business_unit_scoping,
    )
    ids = tuple(str(row["msdynmkt_compliancesettings4id"]).lower() for row in profiles)
    return Target(purpose_id, topic_id, channel, rule, ids)


async def recipient_column(client: DataverseClient, to: ConsentTo, table: str) -> str:
    """Return the column of a contact or lead that holds the address.

    :param client: an open client
    :param to: what is sent, and where
    :param table: ``contact`` or ``lead``
    :raises CijInputError: ``recipient_column`` is not given, and the settings name several columns or none
    :raises CijRefusedError: ``recipient_column`` is not given, and the service does not let the settings be read
    """
    if to.recipient_column:
        if not _COLUMN.fullmatch(to.recipient_column):
            raise CijInputError(f"recipient_column is {to.recipient_column!r}.", hint="Give a column's logical name.")
        return to.recipient_column
    field = _FIELDS.get(to.contact_point_type, "")
    rows: list[dict[str, Any]] = []
    if field:
        try:
            where = f"msdynmkt_entityname eq {literal(table)}"
            rows = await client.rows(query(_SETTINGS, select=(field,), where=where))
        except CijRefusedError as error:
            if error.http_status != 404:
                error.hint = error.hint or "Give ConsentTo(recipient_column=…), so that the settings are not read."
                raise
            log.info("The organisation has no audience configuration: %s", error.message)
    texts = sorted({text for row in rows if (text := str(row.get(field) or "").strip())})
    columns = sorted({column for text in texts for column in _columns(text)})
    if len(columns) == 1:
        return columns[0]
    if not columns and field == _FIELDS[Channel.EMAIL]:
        return "emailaddress1"
    said = f"The organisation's settings name {', '.join(columns)}" if columns else "No setting names it"
    raise CijInputError(
        f"Which column of {table} holds the address is not clear. {said}.",
        hint="Give ConsentTo(recipient_column=…).",
    )


def _columns(text: str) -> Sequence[str]:
    try:
        listed = json.loads(text)
    except ValueError:
        listed = re.split(r"[,;\s]+", text)
    names = [str(name).strip() for name in listed if str(name).strip()] if isinstance(listed, list) else [text]
    if all(_COLUMN.fullmatch(name) for name in names):
        return names
    raise CijInputError(
        f"The organisation's setting of address columns is {text[:200]!r}, which can't be read.",
        hint="Give ConsentTo(recipient_column=…).",
    )


async def _profiles(client: DataverseClient, to: ConsentTo, purpose_id: str) -> list[dict[str, Any]]:
    columns = (_UNIT, _PROVIDER)
    if to.compliance_profile:
        return [await _found(client, PROFILES, to.compliance_profile, columns)]
    try:
        pairs = await client.rows(query(_PROFILES_OF_PURPOSE, where=f"msdynmkt_purposeid eq {purpose_id}"))
        ids = sorted({str(found) for pair in pairs if (found := pair.get("msdynmkt_compliancesettings4id"))})
        if not ids:
            return []
        key = "msdynmkt_compliancesettings4id"
        return await client.rows(query(PROFILES, select=(key, *columns), where=in_filter(key, ids)))
    except CijRefusedError as error:
        if error.http_status != 404:
            error.hint = (
                error.hint or "Give ConsentTo(compliance_profile=…), so that those of the purpose are not read."
            )
            raise
        log.info("The organisation has no compliance profiles: %s", error.message)
        return []


async def _found(
    client: DataverseClient, entity_set: str, name: str, columns: Sequence[str], narrower: str = ""
) -> dict[str, Any]:
    """Read the row that an id or a name stands for.

    :param narrower: a filter that a row found by its name must pass as well
    """
    kind = {PURPOSES: "purpose", TOPICS: "topic", PROFILES: "compliance profile"}[entity_set]
    key = f"{entity_set.removesuffix('s')}id"
    select = (key, *columns)
    if parse_guid(name):
        try:
            return await client.get(query(row_path(entity_set, normalize_guid(name)), select=select))
        except CijNotFoundError as error:
            raise CijInputError(f"There is no {kind} {name}.", request_id=error.request_id) from None
    where = f"msdynmkt_name eq {literal(name)}"
    rows = await client.rows(query(entity_set, select=select, where=f"{where} and {narrower}" if narrower else where))
    if len(rows) == 1:
        return rows[0]
    ids = ", ".join(sorted(str(row.get(key)) for row in rows)[:5])
    message = f"{len(rows):,} rows are named {name!r}: {ids}." if rows else f"There is no {kind} named {name!r}."
    raise CijInputError(message, hint=f"Give the {kind}'s id.")
