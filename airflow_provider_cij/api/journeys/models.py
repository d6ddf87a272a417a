"""Journeys as frozen dataclasses, with open enums, and what the service says of their mistakes.

Sources: the table reference of msdynmkt_journey; "Use the Create Journey From Template API".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from airflow_provider_cij.api.column_values import code_name
from airflow_provider_cij.api.validation import ValidationIssue, ValidationResult
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.dataverse.texts import wrong_with
from airflow_provider_cij.errors import CijInputError, CijReplyError

FOR_VALIDATION = ("msdynmkt_journeyjson",)
"""What a validation reads besides, and who asks for the audience."""
JOURNEY_COLUMNS = ("msdynmkt_journeyid", "msdynmkt_name", "statecode", "statuscode", "modifiedon")


class JourneyStatus(IntEnum):
    """``statuscode`` of msdynmkt_journey. Other codes stay plain numbers."""

    DRAFT = 1
    LIVE = 2
    STOPPED = 3
    PUBLISHING = 4
    DRAINING = 5
    DELETED = 6
    COMPLETING = 7
    COMPLETED = 8
    STOPPING = 9


SUPERSEDED = "it is superseded by a later version, which an edit of the live journey has made"


def superseded(row: Mapping[str, Any]) -> bool:
    """Return whether a later version has taken a journey's place; False where the organisation has no such column."""
    said = {name.lower(): value for name, value in row.items()}.get("msdynmkt_issupersededbylaterversion")
    return str(said).lower() in ("true", "1")


@dataclass(frozen=True)
class Journey:
    """A row of msdynmkt_journeys.

    :param journey_id: its id
    :param name: what people see
    :param status: its statuscode (``JourneyStatus``; an unknown code stays a plain number)
    :param definition: JSON in a string; ``""`` when it was not read
    :param modified_on: when the row was changed last, as the service writes it; ``""`` when it was not read
    """

    journey_id: str
    name: str
    status: int
    definition: str = field(default="", repr=False, compare=False)
    modified_on: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Journey:
        """Read a row.

        :raises CijReplyError: it has no id or no status
        """
        try:
            return cls(
                journey_id=normalize_guid(row["msdynmkt_journeyid"]),
                name=str(row.get("msdynmkt_name") or ""),
                status=int(row["statuscode"]),
                definition=str(row.get("msdynmkt_journeyjson") or ""),
                modified_on=str(row.get("modifiedon") or ""),
            )
        except (CijInputError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise CijReplyError(f"A row of msdynmkt_journeys can't be read: {wrong_with(error)}.") from None

    @property
    def status_name(self) -> str:
        """The status in one word."""
        return code_name(JourneyStatus, self.status)

    @property
    def audience(self) -> str | None:
        """The id of the segment that the journey is for; None when the definition was not read, or names none."""
        try:
            return normalize_guid(json.loads(self.definition)["trigger"]["audience"])
        except (CijInputError, KeyError, RecursionError, TypeError, ValueError):
            return None

    def summary(self) -> dict[str, Any]:
        """Return what a task that waited for it returns."""
        return {"journey_id": self.journey_id, "status": self.status_name}


def validation_of(answer: Mapping[str, Any]) -> ValidationResult:
    """Read the outputs of an action that validates a journey.

    :param answer: its outputs, in any casing of their names
    :raises CijReplyError: it says neither valid nor invalid: never a success
    """
    said = {name.lower(): value for name, value in answer.items()}
    valid = said.get("msdynmkt_isvalid")
    if not isinstance(valid, bool):
        raise CijReplyError("The answer does not say whether the journey is valid.")
    issues = (
        *_issues(said.get("msdynmkt_errors"), warning=valid),
        *_issues(said.get("msdynmkt_warnings"), warning=True),
    )
    try:
        journey_id = normalize_guid(said.get("msdynmkt_journeyid"))
    except CijInputError:
        journey_id = ""
    # A row of zeros is how the service writes "none".
    return ValidationResult(valid, issues, journey_id if journey_id.strip("0-") else "")


def _issues(text: Any, *, warning: bool) -> Iterable[ValidationIssue]:
    """Read a list of what is wrong: JSON in a string as documented, ``null``, nothing, or a list as it is."""
    try:
        entries = json.loads(text) if isinstance(text, str) and text.strip() else text
    except ValueError:
        entries = [text]  # words, not JSON
    except RecursionError:
        entries = ["It is nested too deeply to be read."]
    for entry in entries if isinstance(entries, list) else [entries] if entries else []:
        if not isinstance(entry, Mapping):
            yield _issue("", _said(entry), "", warning=warning)
            continue
        fields = {name.lower(): value for name, value in entry.items()}

        def first(*names: str, fields: Mapping[str, Any] = fields) -> str:
            return next((_said(fields[name]) for name in names if fields.get(name) not in (None, "")), "")

        yield _issue(
            first("errorcode", "code"),
            first("errormessage", "message", "description"),
            first("activityname", "activityid", "actionname", "actionid", "nodeid"),
            warning=warning or "warn" in first("severity", "level", "errortype", "type").lower(),
        )


def _issue(code: str, message: str, activity: str, *, warning: bool) -> ValidationIssue:
    return ValidationIssue(code, message, activity, warning, {"activity": activity})


def _said(value: Any) -> str:
    try:
        return words_of(str(value), bool)
    except (RecursionError, ValueError):  # nested too deeply; a number of thousands of digits
        return f"a {type(value).__name__} that can't be shown"
