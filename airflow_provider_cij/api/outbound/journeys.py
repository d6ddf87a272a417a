"""Outbound journeys: create, update, check for errors. What they share with segments is in ``outbound_rows``.

Source: "Basic outbound marketing customer journey API operations".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.column_values import whole_number
from airflow_provider_cij.api.outbound.models import JOURNEY, OutboundJourney, OutboundStatus, removal_explained
from airflow_provider_cij.api.outbound.rows import CreatedOutbound, OutboundRows
from airflow_provider_cij.api.outbound.workflow import Workflow, compact, titles_of, workflow_text
from airflow_provider_cij.api.row_sync import read_columns, read_name
from airflow_provider_cij.api.segments.spec import IfExists, check_name, id_of
from airflow_provider_cij.api.timestamps import format_utc, parse_utc
from airflow_provider_cij.api.validation import ValidationIssue, ValidationResult
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.dataverse.texts import wrong_with
from airflow_provider_cij.errors import CijInputError, CijNotFoundError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

CONSENTS = {
    "consent": 587030001,
    "transactional": 587030002,
    "subscriptions": 587030003,
    "marketing": 587030004,
    "profiling": 587030005,
}
TARGETS = {"contact": 0, "account": 1}
TYPES = {"automated": 192350000, "linkedin": 192350001}


@dataclass(frozen=True)
class OutboundJourneySpec:
    """What an outbound journey is created or updated to; None is left to the service, or as it is.

    :param name: what people see, up to 100 characters
    :param workflow: its tiles: JSON text, or what it would be in Python
    :param content_settings_id: the content settings that its e-mails use
    :param starts_at: a datetime with its time zone, or ISO 8601; the service keeps minutes
    :param ends_at: a datetime with its time zone, or ISO 8601; the service keeps minutes
    :param time_zone: the number of the time zone that people see it in
    :param required_consent: the least consent: ``consent``, ``transactional``, ``subscriptions``, ``marketing`` or
        ``profiling``
    :param suppression_segment_id: an outbound segment of people who get nothing
    :param recurring: whether it goes through iterations
    :param recurrence_interval_days: how long one takes
    :param recurrence_count: how many there are
    :param target: ``contact`` or ``account``
    :param journey_type: ``automated`` or ``linkedin``
    :param designer_state: what the designer keeps for itself; to be copied together with a workflow
    :param owner_id: a user
    """

    name: str | None = None
    workflow: Workflow | None = None
    content_settings_id: str | None = None
    starts_at: datetime | str | None = None
    ends_at: datetime | str | None = None
    time_zone: int | None = None
    required_consent: str | None = None
    suppression_segment_id: str | None = None
    recurring: bool | None = None
    recurrence_interval_days: int | None = None
    recurrence_count: int | None = None
    target: str | None = None
    journey_type: str | None = None
    designer_state: str | Mapping[str, Any] | None = None
    owner_id: str | None = None


def journey_id_of(key: str) -> str:
    """Return the id of a journey, derived from its key."""
    return id_of(f"outbound journey:{key}")


def journey_row(spec: OutboundJourneySpec) -> dict[str, Any]:
    """Return the columns of what is given.

    :raises CijInputError: naming what can't be right
    """
    if spec.name is not None:
        check_name("The outbound journey", spec.name)
    starts_at, ends_at = moment(spec.starts_at, "starts_at"), moment(spec.ends_at, "ends_at")
    if starts_at and ends_at and ends_at <= starts_at:
        raise CijInputError(f"The journey would end at {ends_at}, not after its start at {starts_at}.")
    state = spec.designer_state
    columns: dict[str, Any] = {
        "msgdpr_requiredconsent": _code(spec.required_consent, CONSENTS, "required_consent"),
        "msdyncrm_customerjourneydesignerstate": compact(state) if isinstance(state, Mapping) else state,
        "msdyncrm_workflowdefinition": None if spec.workflow is None else workflow_text(spec.workflow),
        "msdyncrm_customerjourneytimezone": _count(spec.time_zone, "time_zone"),
        "msdyncrm_contentsettingsId@odata.bind": _bind("msdyncrm_contentsettingss", spec.content_settings_id),
        "msdyncrm_SuppressionSegmentId@odata.bind": _bind("msdyncrm_segments", spec.suppression_segment_id),
        "msdyncrm_enddatetime": ends_at,
        "msdyncrm_startdatetime": starts_at,
        "msdyncrm_name": spec.name,
        "msdyncrm_isrecurring": spec.recurring,
        "msdyncrm_recurrenceintervaldays": _count(spec.recurrence_interval_days, "recurrence_interval_days"),
        "msdyncrm_recurrencecount": _count(spec.recurrence_count, "recurrence_count"),
        "msdyncrm_type": _code(spec.journey_type, TYPES, "journey_type"),
        "msdyncrm_entitytarget": _code(spec.target, TARGETS, "target"),
        "ownerid@odata.bind": _bind("systemusers", spec.owner_id),
    }
    return {column: value for column, value in columns.items() if value is not None}


def moment(value: datetime | str | None, what: str) -> str | None:
    """Write a moment as the service takes it, to the minute.

    :raises CijInputError: it is none, or has no time zone
    """
    if value is None:
        return None
    return format_utc(parse_utc(what, value).replace(second=0)).replace("Z", ".000Z")


def _code(word: str | None, codes: Mapping[str, int], what: str) -> int | None:
    if word is not None and (not isinstance(word, str) or word not in codes):
        raise CijInputError(f"{what} is {repr(word)[:60]}.", hint=f"Use {', '.join(codes)}.")
    return None if word is None else codes[word]


def _count(number: int | None, what: str) -> int | None:
    return None if number is None else whole_number(what, number)


def _bind(entity_set: str, row_id: str | None) -> str | None:
    return None if row_id is None else f"/{entity_set}({normalize_guid(row_id, f'the id in {entity_set}')})"


def _braced(value: Any) -> str | None:
    """Write a lookup as the check wants it: the plain id, in capitals and braces."""
    found = re.search(r"[0-9a-fA-F-]{36}", str(value or ""))
    return f"{{{found[0].upper()}}}" if found else None


# The document's table, and the content settings, which only its example has.
_CHECKED = (
    ("FieldValueName", "msdyncrm_name"),
    ("FieldValueStartDateTime", "msdyncrm_startdatetime"),
    ("FieldValueEndDateTime", "msdyncrm_enddatetime"),
    ("FieldValueWorkflowDefinition", "msdyncrm_workflowdefinition"),
    ("FieldValueIsRecurring", "msdyncrm_isrecurring"),
    ("FieldValueRecurrenceIntervalDays", "msdyncrm_recurrenceintervaldays"),
    ("FieldValueRecurrenceCount", "msdyncrm_recurrencecount"),
    ("FieldValueRequiredConsent", "msgdpr_requiredconsent"),
    ("FieldValueContentSettingsId", "msdyncrm_contentsettingsId@odata.bind"),
    ("FieldValueEntityTarget", "msdyncrm_entitytarget"),
    ("FieldValueSuppressionSegmentId", "msdyncrm_SuppressionSegmentId@odata.bind"),
    ("FieldValueCustomerJourneyTimeZone", "msdyncrm_customerjourneytimezone"),
)


def check_request(journey_id: str, row: Mapping[str, Any], status: int = OutboundStatus.DRAFT) -> dict[str, Any]:
    """Return the request of "Check for Errors".

    :param journey_id: of the journey, there or not
    :param row: its columns, as they are written or as they are read
    :param status: its statuscode
    """
    fields: dict[str, Any] = {
        "FieldValueCustomerJourneyId": _braced(normalize_guid(journey_id, "journey_id")),
        "FieldValueStatusCode": int(status),
    }
    for name, column in _CHECKED:
        value = row.get(column, row.get(read_name(column)))
        value = _braced(value) if column.endswith("@odata.bind") else value
        if value is not None:
            fields[name] = value
    return fields


def validation_of(answer: Mapping[str, Any], titles: Mapping[str, str] | None = None) -> ValidationResult:
    """Read the response of msdyncrm_CustomerJourneyValidate: JSON in a string.

    :param answer: the response
    :param titles: what the activities are, by their ids (``workflow.titles_of``)
    :raises CijReplyError: there is no result in it: never "valid"
    """
    text = answer.get("ValidationResult")
    try:
        said: Any = json.loads(text) if isinstance(text, str) else text
        result = str(said["Result"])
        read = [_issue(entry, titles or {}) for entry in said.get("ActivityValidationResults") or ()]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CijReplyError(f"The result of the check for errors can't be read: {wrong_with(error)}.") from None
    # An unknown word is no "valid".
    issues = tuple(issue for issue in read if issue)
    valid = result in ("Valid", "Warning") and all(issue.warning for issue in issues)
    return ValidationResult(valid, issues, result=result)


def _issue(entry: Mapping[str, Any], titles: Mapping[str, str]) -> ValidationIssue | None:
    """Read one result; None when it says that its activity is valid."""
    severity = str(entry["Result"])
    if severity == "Valid":
        return None
    activity, code = str(entry.get("ActivityId") or ""), str(entry.get("Fault") or "unnamed")
    arguments = [str(argument) for argument in entry.get("ErrorMessageArguments") or ()]
    title = titles.get(activity)
    where = f"activity {activity}" + (f" ({title})" if title else "") if activity else "journey"
    message = words_of(f"{where}: {code}" + (f" ({', '.join(arguments)})" if arguments else ""), bool)
    details = {"activity_id": activity, "fault": code, "arguments": arguments}
    return ValidationIssue(code, message, activity, severity == "Warning", details)


class OutboundJourneys(OutboundRows[OutboundJourney]):
    """The verbs on outbound journeys, over one open client."""

    def __init__(self, client: DataverseClient) -> None:
        super().__init__(client, JOURNEY, OutboundJourney.of)

    async def create(self, key: str, spec: OutboundJourneySpec, if_exists: IfExists = "update") -> CreatedOutbound:
        """Create a journey as a draft, or update the one with the same key; its status stays then.

        :param key: its id derives from it
        :param spec: what is wanted
        :param if_exists: ``update`` (default) what differs, ``reuse`` it as it is, or ``fail``
        :return: what was created and changed
        :raises CijInputError: ``spec`` can't be right
        :raises CijConflictError: it exists and must not, or another client changes it
        """
        if not isinstance(key, str) or not key.strip() or not spec.name:
            raise CijInputError("An outbound journey needs a key and a name.")
        row_id = journey_id_of(key)
        made, changed = await self._bring(row_id, journey_row(spec), if_exists, JOURNEY.table.initial_values)
        return CreatedOutbound(row_id, made, bool(changed), (await self.get(row_id)).status_name, changed)

    async def update(self, journey_id: str, spec: OutboundJourneySpec) -> CreatedOutbound:
        """Change what is given of a journey that exists; the rest stays, and its status as well.

        :param journey_id: the journey
        :param spec: what is wanted; what is None in it stays as it is
        :return: what was changed
        :raises CijInputError: ``spec`` can't be right
        :raises CijNotFoundError: there is no such journey
        """
        return await self._change(journey_id, journey_row(spec))

    async def columns(self, journey_id: str) -> dict[str, Any]:
        """Read what a check looks at, and the status.

        :param journey_id: the journey
        :return: the columns
        :raises CijNotFoundError: there is no such journey
        """
        names = {column: None for _, column in _CHECKED} | {"statuscode": None}
        with removal_explained():
            row = await read_columns(self._client, self.kind.table, normalize_guid(journey_id, "journey_id"), names)
        if row is None:
            raise CijNotFoundError(f"There is no outbound journey {journey_id}.")
        return row

    async def validate(
        self, journey_id: str, row: Mapping[str, Any], status: int = OutboundStatus.DRAFT
    ) -> ValidationResult:
        """Check a journey for errors by the service; nothing is written.

        :param journey_id: of the journey, which need not exist
        :param row: its columns, as they are written or as they are read
        :param status: its statuscode; default that of a draft
        :return: the findings
        :raises CijReplyError: the answer can't be understood
        """
        body = check_request(journey_id, row, status)
        with removal_explained():
            answer = await self._client.action("msdyncrm_CustomerJourneyValidate", body, repeatable=True)
        return validation_of(answer, titles_of(row.get("msdyncrm_workflowdefinition") or "[]"))
