"""Whether a message may go to an address: the service's decision, made from rows of consent. Pure.

Sources: "Manage consent for email, SMS (text), voice, and custom channel messages" (enforcement models), "Manage user
compliance settings" (topics, inactive rows), "Consent management for business units" (which row counts). Where they
are silent:

- Of rows that were modified at the same second, the one that allows least counts.
- No column tells whether business-unit scoping is on, nor which compliance profile a message will have. Where that is
  not given, the decision is made for each possibility, and is unknown unless all of them agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from itertools import product

from airflow_provider_cij.api.consent.consent_to import AS_SERVICE, NOT_OPTED_OUT

OPTED_OUT, NOT_SET, UNKNOWN, NO_ADDRESS = "opted_out", "not_set", "unknown", "no_address"
"""Why a person is left out."""


class ConsentValue(IntEnum):
    """``msdynmkt_value``: what a consent row says."""

    NOT_SET = 534120000
    OPTED_IN = 534120001
    OPTED_OUT = 534120002


class Enforcement(IntEnum):
    """The enforcement model of a purpose for one channel, such as ``msdynmkt_enforcementmodel`` for e-mail."""

    RESTRICTIVE = 534120000
    NON_RESTRICTIVE = 534120001
    DISABLED = 534120002


# From what allows least to what allows most.
_STRICTNESS = {ConsentValue.OPTED_OUT: 0, None: 1, ConsentValue.NOT_SET: 2, ConsentValue.OPTED_IN: 3}


@dataclass(frozen=True)
class ConsentRow:
    """A row of ``msdynmkt_contactpointconsent4``, active or not: inactive rows count.

    :param value: ``msdynmkt_value``; a number that is no ``ConsentValue`` is not known
    :param modified_on: when it was last modified
    :param business_unit_id: of the row's owner
    :param topic_id: of a topic's row; default empty, it is a purpose's
    :param row_id: the row's id; default empty, not read
    :param etag: the row's version; default empty, not read
    :param source: ``msdynmkt_source``, where the value came from; default None, not read
    :param reason: ``msdynmkt_reason``; default empty
    :param near: True, its address differs in accents or the like, and the service may take it for the same; default
        False
    """

    value: int | None
    modified_on: datetime
    business_unit_id: str = ""
    topic_id: str = ""
    row_id: str = ""
    etag: str = ""
    source: int | None = None
    reason: str = ""
    near: bool = False


@dataclass(frozen=True)
class Profile:
    """A compliance profile, active or not.

    :param business_unit_id: of its owner; default empty, not known
    :param has_provider: whether an external consent provider decides for it; default False
    """

    business_unit_id: str = ""
    has_provider: bool = False


@dataclass(frozen=True)
class Rule:
    """What the service decides by, for one purpose or topic and one channel.

    :param enforcement: the purpose's enforcement model for the channel; another number, or None, is not known
    :param business_unit_id: of the purpose's owner
    :param topic_id: the topic's id; default empty, the purpose alone
    :param profiles: the compliance profiles that the message may have; default empty, none is known
    :param scoped: whether business-unit scoping is on; default None, not known
    """

    enforcement: int | None
    business_unit_id: str = ""
    topic_id: str = ""
    profiles: Sequence[Profile] = ()
    scoped: bool | None = None


class Outcome(Enum):
    """What the service does with a message."""

    WILL_SEND = "will be sent"
    WILL_NOT_SEND = "will not be sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Decision:
    """What becomes of a message to an address.

    :param outcome: what the service does
    :param reason: why, in words
    :param value: what the address says; None when that is not known
    """

    outcome: Outcome
    reason: str
    value: ConsentValue | None

    def left_out(self, require: str) -> str:
        """Return why a person with this address is left out; ``""`` when the person stays.

        :param require: ``sendable``, ``not_opted_out`` or ``as_service``
        :return: ``opted_out``, ``not_set`` or ``unknown``
        """
        if self.value is ConsentValue.OPTED_OUT and require != AS_SERVICE:
            return OPTED_OUT
        if self.value is None and require != AS_SERVICE:
            return UNKNOWN
        if require == NOT_OPTED_OUT:
            return ""
        if self.outcome is Outcome.WILL_SEND:
            return ""
        words = {ConsentValue.OPTED_OUT: OPTED_OUT, ConsentValue.NOT_SET: NOT_SET}
        return words.get(self.value, UNKNOWN) if self.outcome is Outcome.WILL_NOT_SEND and self.value else UNKNOWN


def decide(rows: Iterable[ConsentRow], rule: Rule) -> Decision:
    """Return the service's decision about one address.

    :param rows: the address's rows for the channel, of the purpose and of the topic
    :param rule: what the service decides by
    """
    known = list(rows)
    decisions = {_decide(known, rule, profile, scoped) for profile, scoped in _worlds(rule)}
    value = min((decision.value for decision in decisions), key=_STRICTNESS.__getitem__)
    if len({decision.outcome for decision in decisions}) > 1:
        reason = "the business units or compliance profiles that may apply lead to different decisions"
        return Decision(Outcome.UNKNOWN, reason, value)
    chosen = min(decisions, key=lambda decision: (_STRICTNESS[decision.value], decision.reason))
    return Decision(chosen.outcome, chosen.reason, value)


def value_in_any_world(rows: Iterable[ConsentRow], rule: Rule, topic_id: str = "") -> ConsentValue | None:
    """Return what an address says about a purpose or topic: the strictest value that any possibility leads to.

    :param rows: the address's rows for the channel
    :param rule: the business units to look in
    :param topic_id: the topic's id; default empty, the purpose
    :return: the value; None for one that is not known
    """
    known = list(rows)
    values = (effective_value(known, _units(rule, profile), scoped, topic_id) for profile, scoped in _worlds(rule))
    return min(values, key=_STRICTNESS.__getitem__)


def effective_value(
    rows: Iterable[ConsentRow], units: Iterable[str], scoped: bool, topic_id: str = ""
) -> ConsentValue | None:
    """Return what an address says about a purpose or a topic.

    :param rows: the address's rows for the channel
    :param units: the business units to look in, in this order
    :param scoped: False looks in any other business unit at last
    :param topic_id: the topic's id; default empty, the purpose
    :return: the value; None for one that is not known
    """
    of_key = [row for row in rows if row.topic_id == topic_id]
    found = next(filter(None, ([row for row in of_key if row.business_unit_id == unit] for unit in units)), [])
    found = found or ([] if scoped else of_key)
    if not found:
        return ConsentValue.NOT_SET
    newest = max(row.modified_on for row in found)
    values = (_known(row.value) for row in found if row.modified_on == newest)
    return min(values, key=_STRICTNESS.__getitem__)


def _worlds(rule: Rule) -> Iterable[tuple[Profile, bool]]:
    return product(rule.profiles or (Profile(),), (True, False) if rule.scoped is None else (rule.scoped,))


def _units(rule: Rule, profile: Profile) -> list[str]:
    return [rule.business_unit_id, *filter(None, [profile.business_unit_id])]


def _known(value: int | None) -> ConsentValue | None:
    if value is None:  # an empty choice says nothing
        return ConsentValue.NOT_SET
    return ConsentValue(value) if value in set(ConsentValue) else None


def _decide(rows: Sequence[ConsentRow], rule: Rule, profile: Profile, scoped: bool) -> Decision:
    if profile.has_provider:
        return Decision(Outcome.UNKNOWN, "an external consent provider decides for the compliance profile", None)
    units = _units(rule, profile)
    values = [effective_value(rows, units, scoped)]
    if rule.topic_id:
        values.append(effective_value(rows, units, scoped, rule.topic_id))
    value = min(values, key=_STRICTNESS.__getitem__)
    if rule.enforcement == Enforcement.DISABLED:
        return Decision(Outcome.WILL_SEND, "enforcement is disabled", value)
    if value is None:
        return Decision(Outcome.UNKNOWN, "the consent has a value that is not known", value)
    if value is ConsentValue.OPTED_IN:  # the same under every model
        return Decision(Outcome.WILL_SEND, "opted in", value)
    if rule.enforcement not in (Enforcement.RESTRICTIVE, Enforcement.NON_RESTRICTIVE):
        return Decision(Outcome.UNKNOWN, "the purpose's enforcement model is not known", value)
    if value is ConsentValue.OPTED_OUT:
        return Decision(Outcome.WILL_NOT_SEND, "opted out", value)
    if rule.enforcement == Enforcement.RESTRICTIVE:
        return Decision(Outcome.WILL_NOT_SEND, "not opted in", value)
    return Decision(Outcome.WILL_SEND, "not opted out", value)
