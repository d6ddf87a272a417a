"""Custom triggers: read a definition, check attributes against it, and raise the trigger for a person.

Sources: "Create custom triggers" (each is an unbound Custom API; every attribute must be present and not empty); the
table references of msdynmkt_eventmetadata and CustomAPIRequestParameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.column_values import MAX_INT, json_text
from airflow_provider_cij.api.custom_apis import custom_api
from airflow_provider_cij.api.timestamps import format_utc, parse_utc
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import literal, query
from airflow_provider_cij.dataverse.texts import wrong_with
from airflow_provider_cij.errors import CijInputError, CijNotFoundError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_SET = "msdynmkt_eventmetadataset"  # irregular: the table is msdynmkt_eventmetadata
_COLUMNS = ("msdynmkt_uniquename", "msdynmkt_state", "_msdynmkt_customapiid_value")
_PREFIX = "msdynmkt_"
_READY = 534120002
_STATES = (
    *("draft", "getting ready", "ready to use", "stopping", "stopped"),
    *("deleting", "deleted", "restarting", "resetting"),
)
_TIMES = ("msdynmkt_signaltimestamp", "msdynmkt_signalingestiontimestamp")
_PEOPLE = ("msdynmkt_profileid", "msdynmkt_signaluserauthid")
_BINDING = "bindingid"
# The largest decimal of .NET, which the service reads decimals and money into.
_MOST_DECIMAL = 7.9e28


@dataclass(frozen=True)
class CustomTrigger:
    """A custom trigger of the organisation.

    :param name: the trigger's unique name
    :param action: the unique name of the action that raises it
    :param state: ``msdynmkt_state``
    :param inputs: the type codes of the action's inputs, by name
    """

    name: str
    action: str
    state: int
    inputs: Mapping[str, int]

    @property
    def state_name(self) -> str:
        """The state in words; an unknown one as its number."""
        index = self.state - 534120000
        return _STATES[index] if 0 <= index < len(_STATES) else f"in state {self.state}"

    @property
    def attributes(self) -> dict[str, int]:
        """The inputs that the trigger's author has defined."""
        return {name: kind for name, kind in self.inputs.items() if name not in (*_TIMES, *_PEOPLE, _BINDING)}


class CustomTriggers:
    """The verbs on custom triggers, over one open client.

    :param client: an open client
    :param clock: tells the time of a raise; default the real time
    """

    def __init__(self, client: DataverseClient, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or Clock()

    async def get(self, name: str) -> CustomTrigger:
        """Read a trigger's definition.

        :param name: the trigger's unique name, with or without ``msdynmkt_``, or its display name
        :raises CijNotFoundError: there is no such trigger, or several have the name
        :raises CijReplyError: its definition can't be read
        """
        bare = name.strip().removeprefix(_PREFIX)
        where = " or ".join(f"msdynmkt_uniquename eq {literal(unique)}" for unique in (bare, _PREFIX + bare))
        where += f" or msdynmkt_name eq {literal(name.strip())}"
        rows = await self._client.rows(query(_SET, select=_COLUMNS, where=where))
        if len(rows) != 1:
            raise CijNotFoundError(
                f"There are {len(rows):,} custom triggers {name!r}."
                if rows
                else f"There is no custom trigger {name!r}.",
                hint="Give the unique name that its code snippet shows, msdynmkt_….",
            )
        unique, api_id = str(rows[0].get("msdynmkt_uniquename") or ""), rows[0].get("_msdynmkt_customapiid_value")
        api = await custom_api(self._client, f"customapiid eq {normalize_guid(api_id)}") if api_id else {}
        try:
            parameters = api.get("CustomAPIRequestParameters") or ()
            inputs = {str(row.get("uniquename")): int(row.get("type") or 0) for row in parameters}
            state = int(rows[0].get("msdynmkt_state") or 0)
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise CijReplyError(f"The custom trigger {unique!r} can't be read: {wrong_with(error)}.") from None
        return CustomTrigger(unique, str(api.get("uniquename") or ""), state, inputs)

    async def raise_trigger(
        self, trigger: CustomTrigger, profile_id: str, attributes: Mapping[str, Any], table: str = "contact"
    ) -> None:
        """Raise a trigger for one person. The service accepts it, and starts journeys after its response.

        The request is never repeated: it is not idempotent.

        :param trigger: the trigger
        :param profile_id: the contact's or lead's id
        :param attributes: the attributes, as ``attributes_of`` returns them
        :param table: ``contact`` (default) or ``lead``
        :raises CijError: the raise failed; with ``unclear`` the trigger may have been raised all the same
        """
        moment = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            **dict.fromkeys(_TIMES, moment),
            **dict.fromkeys(_PEOPLE, profile_id),
            _BINDING: f"{table}/{profile_id}",
        }
        known = {name: value for name, value in body.items() if name in trigger.inputs}
        await self._client.action(trigger.action, {**known, **attributes}, repeatable=False)


def attributes_of(trigger: CustomTrigger, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a trigger as the service expects them, all checked.

    :param trigger: the trigger
    :param given: values by attribute name, with or without ``msdynmkt_``; a text is read as the attribute's type
    :raises CijInputError: the trigger is not ready to use, or attributes are missing, empty, of another type or
        unknown; the error names all of them
    """
    if trigger.state != _READY:
        raise CijInputError(
            f"The custom trigger {trigger.name!r} is {trigger.state_name}.",
            hint="Make it ready to use in Dynamics 365, and wait until it is.",
        )
    if not trigger.action or _PEOPLE[0] not in trigger.inputs:
        raise CijInputError(
            f"What the custom trigger {trigger.name!r} takes can't be read.",
            hint="Give the application user read access to custom APIs and their request parameters.",
        )
    wanted = trigger.attributes
    by_name = {_PREFIX + name.removeprefix(_PREFIX): value for name, value in given.items()}
    wire = {_PREFIX + name.removeprefix(_PREFIX): name for name in wanted}
    wrong = [f"{name.removeprefix(_PREFIX)} is unknown" for name in by_name if name not in wire]
    values: dict[str, Any] = {}
    for name, own_name in wire.items():
        value = by_name.get(name)
        try:
            if value is None:
                raise ValueError("is missing" if name not in by_name else "is null")
            values[own_name] = _typed(value, wanted[own_name])
        except (CijInputError, OverflowError, TypeError, ValueError) as error:
            wrong.append(f"{name.removeprefix(_PREFIX)} {error if value is None else _requirement(wanted[own_name])}")
    if wrong:
        raise CijInputError(
            f"The attributes of {trigger.name!r}: {'; '.join(wrong)}.",
            hint="The service wants every attribute, and none empty. Nothing was sent.",
        )
    return values


def _typed(value: Any, kind: int) -> Any:
    if kind in _TYPES:
        return _TYPES[kind][1](value)
    json_text("it", value)
    return value


def _requirement(kind: int) -> str:
    return f"must be {_TYPES[kind][0]}" if kind in _TYPES else "is of an unknown type"


def _boolean(value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    text = str(value).strip().lower()
    return known[text] if text in known else _refuse()


def _moment(value: Any) -> str:
    return format_utc(parse_utc("it", value))


def _number(value: Any) -> float:
    number = _refuse() if isinstance(value, bool) else float(value)
    return number if isfinite(number) else _refuse()


def _decimal(value: Any) -> float:
    number = _number(value)
    return number if abs(number) <= _MOST_DECIMAL else _refuse()


def _integer(value: Any) -> int:
    number = int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", str(value)) else _refuse()
    return number if -MAX_INT - 1 <= number <= MAX_INT else _refuse()


def _text(value: Any) -> str:
    valid = (
        isinstance(value, (str, int, float)) and str(value) and not (isinstance(value, float) and not isfinite(value))
    )
    return str(value) if valid else _refuse()


def _texts(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, (list, tuple)) else _refuse()


def _row(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or "@odata.type" not in value:
        _refuse()
    json_text("it", value)
    return dict(value)


def _refuse() -> Any:
    raise ValueError


# Table reference of CustomAPIRequestParameter, column type.
_TYPES: dict[int, tuple[str, Callable[[Any], Any]]] = {
    0: ("true or false", _boolean),
    1: ("a datetime with its time zone, or ISO 8601", _moment),
    2: ("a number", _decimal),
    3: ("a row with its @odata.type and its id", _row),
    5: ("a row with its @odata.type and its id", _row),
    6: ("a number", _number),
    7: ("a whole number of 32 bits", _integer),
    8: ("a number", _decimal),
    9: ("the number of a choice, of 32 bits", _integer),
    10: ("a text that is not empty", _text),
    11: ("a list of texts", _texts),
    12: ("an id", normalize_guid),
}
