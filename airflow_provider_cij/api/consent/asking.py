"""Ask the service itself whether messages may go, by the action ``msdynmkt_checkconsent``.

Its signature is in no document. Its inputs are read from the organisation, and used when they are those that "Extend
consent" documents for replacement consent providers; otherwise the tables decide.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.consent.consent_to import Channel
from airflow_provider_cij.api.consent.private import private
from airflow_provider_cij.api.consent.reading import address_key
from airflow_provider_cij.api.consent.target import Target
from airflow_provider_cij.api.custom_apis import inputs_of
from airflow_provider_cij.errors import CijError, CijRefusedError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

ACTION = "msdynmkt_checkconsent"
_CHANNELS = {Channel.EMAIL: "email", Channel.TEXT: "sms", Channel.CUSTOM: "custom"}
# Types of customapirequestparameter: an entity, an entity reference, text, a list of texts, a GUID.
_ENTITIES, _TEXT, _TEXTS, _GUID = (3, 5), 10, 11, 12
_ADDRESSES = object()


class ConsentCheck:
    """The action of one organisation, for one purpose or topic.

    :param client: an open client
    :param inputs: the values of all inputs but the addresses
    :param addresses_input: the name of the input that takes the addresses
    """

    def __init__(self, client: DataverseClient, inputs: Mapping[str, Any], addresses_input: str) -> None:
        self._client = client
        self._inputs = inputs
        self._addresses_input = addresses_input
        self._refused = False

    async def ask(self, addresses: Sequence[str]) -> dict[str, bool] | None:
        """Ask about addresses.

        :param addresses: the addresses, in all the spellings to ask about
        :return: the service's answers by ``address_key``, without those that it does not answer or that contradict each
            other; None when the service refuses to be asked, from the first refusal on
        :raises CijError: the service can't be reached at present
        """
        if self._refused or not addresses:
            return None if self._refused else {}
        try:
            call = self._client.action(
                ACTION, {**self._inputs, self._addresses_input: list(addresses)}, repeatable=True
            )
            return _answers(await private(f"POST {ACTION}", call))
        except (CijRefusedError, CijReplyError) as error:
            self._refused = True
            log.warning("%s can't be asked, the consent tables decide from here on: %s", ACTION, error)
            return None


async def discover(client: DataverseClient, target: Target) -> tuple[ConsentCheck | None, str]:
    """Find out whether the service can be asked about a purpose or topic.

    :param client: an open client
    :param target: what is asked about
    :return: the action, or None; and why it can't be asked
    """
    if target.channel not in _CHANNELS:
        return None, f"{ACTION} has no channel {target.channel.name.lower()}"
    if len(target.profile_ids) > 1:
        return None, f"the purpose is in {len(target.profile_ids):,} compliance profiles, and ConsentTo names none"
    try:
        parameters = await inputs_of(client, ACTION)
    except CijError as error:
        if not isinstance(error, CijRefusedError):
            raise
        return None, f"the inputs of {ACTION} can't be read: {error.message}"
    if not parameters:
        return None, f"the organisation has no {ACTION}"
    given, why = _inputs(parameters, target)
    if why:
        return None, why
    addresses_input = next((name for name, value in given.items() if value is _ADDRESSES), "")
    known = {_plain(name) for name in given}
    needed = {"contactpoints", "purpose", "channeltype"}
    needed |= {"topic"} if target.topic_id else set()
    needed |= {"complianceprofile"} if target.profile_ids else set()
    if lacking := ", ".join(sorted(needed - known)):
        return None, f"{ACTION} has no input of a known type for {lacking}"
    del given[addresses_input]
    return ConsentCheck(client, given, addresses_input), ""


def _inputs(parameters: Sequence[Mapping[str, Any]], target: Target) -> tuple[dict[str, Any], str]:
    """Return the values of the inputs by name, and why the action can't be called."""
    given: dict[str, Any] = {}
    for parameter in parameters:
        name = str(parameter.get("uniquename") or "")
        value = _value(_plain(name), parameter.get("type"), target)
        if value is not None:
            given[name] = value
        elif not parameter.get("isoptional"):
            return {}, f"the input {name} of {ACTION} is not known"
    return given, ""


def _plain(name: str) -> str:
    return name.lower().removeprefix("msdynmkt_")


def _value(name: str, kind: object, target: Target) -> Any:
    """Return the value of an input; None when there is none to give, or the input is of another type."""
    rows = {
        "purpose": ("msdynmkt_purpose", target.purpose_id),
        "topic": ("msdynmkt_topic", target.topic_id),
        "complianceprofile": ("msdynmkt_compliancesettings4", next(iter(target.profile_ids), "")),
        "owningbusinessunit": ("businessunit", target.rule.business_unit_id),
    }
    if name == "contactpoints":
        return _ADDRESSES if kind == _TEXTS else None
    if name in ("unsubscribeurlrequired", "oneclickunsubscribeurlrequired"):
        return False
    if name == "channeltype":
        return _CHANNELS[target.channel] if kind == _TEXT else None
    table, row_id = rows.get(name, ("", ""))
    if not row_id:
        return None
    if kind in _ENTITIES:
        return {"@odata.type": f"Microsoft.Dynamics.CRM.{table}", f"{table}id": row_id}
    return row_id if kind in (_TEXT, _GUID) else None


def _answers(outputs: Mapping[str, Any]) -> dict[str, bool]:
    """Return the answers by address. An address that is answered in two ways is left out: that is no yes."""
    fields = {name.lower().removeprefix("msdynmkt_"): value for name, value in outputs.items()}
    listed = fields.get("consents")
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except ValueError:
            listed = None
    if not isinstance(listed, list):
        raise CijReplyError(f"POST {ACTION} was answered without a list of consents.")
    answers: dict[str, bool] = {}
    unclear = set()
    for entry in listed:
        known = {str(name).lower(): value for name, value in entry.items()} if isinstance(entry, dict) else {}
        address, answer = address_key(known.get("contactpoint")), known.get("consentformessage")
        if not isinstance(answer, bool) or answers.setdefault(address, answer) is not answer:
            unclear.add(address)
    return {address: answer for address, answer in answers.items() if address not in unclear}
