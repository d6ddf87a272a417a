"""What the service's validation finds in a journey or a segment: one shape for both generations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ValidationIssue:
    """A mistake, or a warning.

    :param code: the service's, such as ``SegmentNotInLiveState``
    :param message: the service's message, or what its code and details say; ``""`` when there is none
    :param where: the activity or column that it is about; ``""`` for the whole record
    :param warning: True when the record may be published all the same
    :param details: what its dictionary holds besides
    """

    code: str
    message: str = ""
    where: str = ""
    warning: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON, for XCom."""
        return {"code": self.code, "message": self.message, "where": self.where, **self.details}


@dataclass(frozen=True)
class ValidationResult:
    """The result of a validation.

    :param valid: whether the record is valid; None when that could not be asked
    :param issues: what was found
    :param journey_id: of the journey that was created; ``""`` when none was, or it is not known
    :param result: the service's word for it; ``""`` when it gives none
    """

    valid: bool | None
    issues: tuple[ValidationIssue, ...] = ()
    journey_id: str = ""
    result: str = ""

    @property
    def errors(self) -> list[ValidationIssue]:
        """The issues that make it invalid."""
        return [issue for issue in self.issues if not issue.warning]

    @property
    def warnings(self) -> list[ValidationIssue]:
        """The issues that do not make it invalid."""
        return [issue for issue in self.issues if issue.warning]

    @property
    def codes(self) -> set[str]:
        """The codes of what makes it invalid."""
        return {issue.code for issue in self.errors}

    def in_words(self) -> str:
        """Return what makes it invalid, for errors."""
        words = [f"{issue.code or 'no code'}: {issue.message or 'no message'}" for issue in self.errors]
        return "; ".join(word.rstrip(".") for word in words) or "the service gives no reason"

    def fails(self, fail_on: str) -> bool:
        """Return whether it is to fail a task.

        :param fail_on: ``error``, ``warning`` (both do) or ``never``
        """
        warned = fail_on == "warning" and (bool(self.warnings) or self.result == "Warning")
        return fail_on != "never" and (not self.valid or warned)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON, for XCom."""
        return {
            "valid": self.valid,
            **({"result": self.result} if self.result else {}),
            "errors": [issue.as_dict() for issue in self.errors],
            "warnings": [issue.as_dict() for issue in self.warnings],
        }
