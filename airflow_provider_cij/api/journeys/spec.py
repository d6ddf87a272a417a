"""What a journey is created from: checked, and written as the service takes it. Pure.

Source: "Use the Create Journey From Template API": parameters, "JSONPath modifications", error codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_cij.api.column_values import json_text
from airflow_provider_cij.api.segments.spec import business_unit
from airflow_provider_cij.api.timestamps import format_utc, parse_utc
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.errors import CijInputError

_LONGEST_NAME = 150
_LONGEST = timedelta(days=365)


@dataclass(frozen=True)
class JourneySpec:
    """What a journey is made of.

    :param template_id: the template, or a journey to copy
    :param name: unique in the organisation
    :param modifications: values by JSONPath
    :param starts_at: a datetime with its time zone, or ISO 8601
    :param ends_at: a datetime with its time zone, or ISO 8601
    :param publish: make it live at once
    :param audience_segment_id: the segment it starts with
    :param exclusion_segment_ids: segments whose members do not start
    :param suppression_segment_ids: who gets into one of them leaves
    :param message_ids: e-mail ids by the id of the action that sends them
    :param business_unit_id: the owner
    """

    template_id: str
    name: str
    modifications: Mapping[str, Any] = field(default_factory=dict)
    starts_at: datetime | str | None = None
    ends_at: datetime | str | None = None
    publish: bool = False
    audience_segment_id: str | None = None
    exclusion_segment_ids: tuple[str, ...] = ()
    suppression_segment_ids: tuple[str, ...] = ()
    message_ids: Mapping[str, str] = field(default_factory=dict)
    business_unit_id: str | None = None


def body_of(spec: JourneySpec) -> dict[str, Any]:
    """Write the inputs of ``msdynmkt_CreateJourneyFromTemplate``.

    :raises CijInputError: something in it can't be right
    """
    if not isinstance(spec.name, str) or not spec.name.strip() or len(spec.name) > _LONGEST_NAME:
        raise CijInputError(
            f"The journey's name is {repr(spec.name)[:200]}.", hint=f"Give 1 to {_LONGEST_NAME} characters."
        )
    start, end = (_moment(name, value) for name, value in (("starts_at", spec.starts_at), ("ends_at", spec.ends_at)))
    if start and end and not timedelta() < end - start <= _LONGEST:
        raise CijInputError(f"The journey is to start at {start} and end at {end}.", hint="It may take up to 365 days.")
    changes = _changes(spec)
    unit = spec.business_unit_id
    given = {
        "msdynmkt_journeytemplateid": normalize_guid(spec.template_id, "template_id"),
        "msdynmkt_journeyname": spec.name,
        "msdynmkt_jsonpathmodifications": encoded(changes) if changes else None,
        "msdynmkt_journeystarttime": start and format_utc(start),
        "msdynmkt_journeyendtime": end and format_utc(end),
        "msdynmkt_createmode": "Publish" if spec.publish else "Draft",
        "msdynmkt_owningbusinessunitid": None if unit is None else business_unit(unit),
    }
    return {name: value for name, value in given.items() if value}


def check_times(spec: JourneySpec, now: datetime) -> None:
    """Check that no time has passed.

    :raises CijInputError: naming it
    """
    for name, value in (("starts_at", spec.starts_at), ("ends_at", spec.ends_at)):
        moment = _moment(name, value)
        if moment and moment <= now:
            raise CijInputError(f"{name} is {format_utc(moment)}, which has passed.", hint="Give a time in the future.")


def _changes(spec: JourneySpec) -> dict[str, Any]:
    changes = dict(spec.modifications)
    exclusions = [normalize_guid(segment_id, "an exclusion segment") for segment_id in spec.exclusion_segment_ids]
    suppressions = [normalize_guid(segment_id, "a suppression segment") for segment_id in spec.suppression_segment_ids]
    # One that a template renders to nothing would leave the audience to the journey's template.
    audience = spec.audience_segment_id
    named = {
        "$.trigger.audience": None if audience is None else normalize_guid(audience, "audience_segment_id"),
        "$.trigger.exclusionSegments": exclusions,
        "$.exitCriteria.suppressionSegments": suppressions,
        **{
            f"$.actions['{_quoted(action)}'].parameters.contentId": normalize_guid(
                message, f"the message of action {action}"
            )
            for action, message in spec.message_ids.items()
        },
    }
    for path, value in named.items():
        if value and path in changes:
            raise CijInputError(f"modifications changes {path}, and so does an argument of its own.")
    return changes | {path: value for path, value in named.items() if value}


def _quoted(text: str) -> str:
    return re.sub(r"(['\\])", r"\\\1", str(text))


def encoded(changes: Mapping[str, Any]) -> str:
    """Write modifications: JSON whose values are all strings; what is none, as its own JSON in a string.

    :raises CijInputError: a key is no JSONPath, or a value is nothing
    """
    for path, value in changes.items():
        if not isinstance(path, str) or not path.startswith("$"):
            raise CijInputError(f"modifications has {path!r}, which is no JSONPath.", hint="It begins with '$'.")
        if value is None:
            raise CijInputError(f"modifications has nothing for {path}.", hint="Parts of a template can't be removed.")
    return json_text(
        "modifications", {path: _value(path, value) for path, value in changes.items()}, ensure_ascii=False
    )


def _value(path: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return format_utc(parse_utc(f"modifications[{path!r}]", value))
    return json_text(f"modifications[{path!r}]", value, ensure_ascii=False, separators=(",", ":"))


def _moment(name: str, value: datetime | str | None) -> datetime | None:
    return None if value is None else parse_utc(name, value)
