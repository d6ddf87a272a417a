"""Check for Errors: what stops an outbound journey from going live (``msdyncrm_CustomerJourneyValidate``).

Assumption: segments and settings are checked only in a journey without other errors. The document's example refers to
those of another organisation, and gets only the error that is printed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cij_sandbox.core import guid, values
from cij_sandbox.core.schema import Column, Kind
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.outbound import workflow
from cij_sandbox.outbound.definitions import problem_of
from cij_sandbox.outbound.tables import (
    ACCOUNT_TARGET,
    CONTENT_SETTINGS,
    LIVE,
    LIVE_EDITABLE,
    OUTBOUND_JOURNEY,
    OUTBOUND_SEGMENT,
)
from cij_sandbox.outbound.workflow import ERROR, WARNING, Fault

_PREFIX = "FieldValue"
# The document's mapping table, and a name that only its example has.
FIELDS: Mapping[str, Column] = {
    _PREFIX + key: OUTBOUND_JOURNEY.by_name[name]
    for key, name in {
        "CustomerJourneyId": "msdyncrm_customerjourneyid",
        "StatusCode": "statuscode",
        "Name": "msdyncrm_name",
        "StartDateTime": "msdyncrm_startdatetime",
        "EndDateTime": "msdyncrm_enddatetime",
        "WorkflowDefinition": "msdyncrm_workflowdefinition",
        "IsRecurring": "msdyncrm_isrecurring",
        "RecurrenceIntervalDays": "msdyncrm_recurrenceintervaldays",
        "RecurrenceCount": "msdyncrm_recurrencecount",
        "RequiredConsent": "msgdpr_requiredconsent",
        "EntityTarget": "msdyncrm_entitytarget",
        "SuppressionSegmentId": "msdyncrm_suppressionsegmentid",
        "CustomerJourneyTimeZone": "msdyncrm_customerjourneytimezone",
        "ContentSettingsId": "msdyncrm_contentsettingsid",
    }.items()
}


@dataclass(frozen=True)
class Result:
    """The outcome of a validation."""

    faults: tuple[Fault, ...]

    @property
    def blocks(self) -> bool:
        """Whether the journey cannot go live."""
        return any(fault.severity == ERROR for fault in self.faults)

    @property
    def text(self) -> str:
        """The documented ValidationResult: JSON in a string."""
        activities = [
            {
                "ActivityId": fault.activity,
                "Fault": fault.name,
                "Result": fault.severity,
                "ErrorMessageArguments": list(fault.arguments),
            }
            for fault in self.faults
        ]
        overall = ERROR if self.blocks else WARNING if self.faults else "Valid"
        return json.dumps({"ActivityValidationResults": activities, "Result": overall}, separators=(",", ":"))


def validate_row(connection: sqlite3.Connection, row: sqlite3.Row) -> Result:
    """Validate the row of a journey."""
    return _validate(connection, dict(row), [])


def validate(connection: sqlite3.Connection, given: Mapping[str, object]) -> Result:
    """Validate the inputs of the action: times as text, references as ids in braces."""
    journey: dict[str, object] = {}
    unreadable: list[Fault] = []
    for key, value in given.items():
        column = FIELDS[key]
        read: object = value
        if column.kind is Kind.DATETIME:
            read = values.read_moment(str(value))
        elif column.kind is Kind.GUID:
            read = guid.parse(str(value))
        elif column.options and value not in column.options:
            read = None
        if read is None:
            unreadable.append(Fault("ErrorFieldValueNotValid", arguments=(key,)))
        journey[column.name] = read
    return _validate(connection, journey, unreadable)


def _validate(connection: sqlite3.Connection, journey: Mapping[str, object], unreadable: list[Fault]) -> Result:
    target = "account" if journey.get("msdyncrm_entitytarget") == ACCOUNT_TARGET else "contact"
    activities = workflow.read(journey.get("msdyncrm_workflowdefinition"))
    faults = [*unreadable, *_faults_of_journey(journey)]
    if activities is None:
        faults.append(Fault("ErrorWorkflowDefinitionNotValid"))
    else:
        faults += workflow.faults(activities, target)
        if not Result(tuple(faults)).blocks:
            faults += _faults_of_references(connection, journey, activities)
    return Result(tuple(faults))


def _faults_of_journey(journey: Mapping[str, object]) -> Iterator[Fault]:
    if not journey.get("msdyncrm_name"):
        yield Fault("ErrorNameMissing")
    start, end = (_minute(journey.get(f"msdyncrm_{which}datetime")) for which in ("start", "end"))
    if start is None:
        yield Fault("ErrorStartDateMissing")
    if end is None:
        yield Fault("ErrorEndDateMissing")
    if start is not None and end is not None and end <= start:
        yield Fault("ErrorEndDateBeforeStartDate")
    if not journey.get("msdyncrm_isrecurring"):
        return
    days, count = (journey.get(f"msdyncrm_recurrence{which}") for which in ("intervaldays", "count"))
    if not isinstance(days, int) or not isinstance(count, int) or days < 1 or count < 1:
        yield Fault("ErrorRecurrenceNotValid")
    elif start is not None and end is not None and start < end < start + days * count * 86_400:
        yield Fault("ErrorRecurringCampaignEndDateDoesNotFitRequestedIterations")


def _minute(moment: object) -> float | None:
    return moment - moment % 60 if isinstance(moment, int | float) else None


def _faults_of_references(
    connection: sqlite3.Connection, journey: Mapping[str, object], activities: tuple[workflow.Activity, ...]
) -> Iterator[Fault]:
    suppression, settings = journey.get("msdyncrm_suppressionsegmentid"), journey.get("msdyncrm_contentsettingsid")
    if suppression:
        yield from _faults_of_segment(connection, str(suppression), "")
    if settings and fetch(connection, CONTENT_SETTINGS, str(settings)) is None:
        yield Fault("ErrorContentSettingsNotFound", arguments=(str(settings),))
    # Assumption: the sandbox has no e-mails, pages, events or forms, and does not check their ids.
    for activity in activities:
        for segment_id in workflow.segments_of(activity):
            yield from _faults_of_segment(connection, segment_id, activity.activity_id)


def _faults_of_segment(connection: sqlite3.Connection, written: str, activity: str) -> Iterator[Fault]:
    segment_id = guid.parse(written)
    segment = fetch(connection, OUTBOUND_SEGMENT, segment_id) if segment_id else None
    if segment is None:
        yield Fault("ErrorSegmentNotFound", activity, arguments=(written,))
    elif segment["statuscode"] not in (LIVE, LIVE_EDITABLE):
        yield Fault("ErrorSegmentNotLive", activity, arguments=(written,))
    elif problem_of(connection, dict(segment)):
        yield Fault("WarningSegmentNotValid", activity, WARNING, (written,))
