"""Create, validate and publish real-time journeys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cij._base import CijOperator, log_group
from airflow_provider_cij.errors import CijInputError, CijJourneyInvalidError
from airflow_provider_cij.links import CijJourneyLink
from airflow_provider_cij.operators._emitting import EmitsEvents
from airflow_provider_cij.operators._waiting import Started, WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.validation import ValidationIssue, ValidationResult
    from airflow_provider_cij.api.wait import Check


class CijCreateJourneyOperator(EmitsEvents):
    """Create a journey from a template, or from another journey: as a draft, unless told to publish it.

    Journeys are unique by name. One that has the same name counts as made by an earlier try, and is returned as it
    is, when this application user made it since the DAG run was due; any other fails the task. So put the run into
    the name, such as ``Newsletter {{ ds }}``. A lost reply, a server error and the service's own timeout are looked
    into by name before anything is sent again.

    Source: "Use the Create Journey From Template API" (documented in November 2025).

    :param template_id: the template, or a journey to copy
    :param name: up to 150 characters, unique in the organisation
    :param modifications: values by JSONPath, such as ``{"$.actions['…'].parameters.count": 2}``; numbers, lists and
        dicts as they are (the paths are no templates). Default None, no other changes
    :param starts_at: a datetime with its time zone, or ISO 8601; in the future. Default None, the template's
    :param ends_at: a datetime with its time zone, or ISO 8601; up to 365 days after the start. Default None, the
        template's
    :param publish: True makes it live at once: it sends real mail to real people. Default False
    :param audience_segment_id: the segment it starts with, which must be live. Default None, the template's
    :param exclusion_segment_ids: segments whose members do not start. Default none
    :param suppression_segment_ids: segments whose members leave. Default none
    :param message_ids: e-mail ids by the id of the action that sends them. Default None, the template's
    :param business_unit_id: the owner, where business units are in use. Default None, not sent
    :param emit_events: False emits no event on the journey's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "valid", "errors"}``; ``valid`` is None when an earlier try's draft can't be validated,
        ``errors`` what a draft may have
    :raises AirflowFailException: the service finds mistakes in it: each with its code; another journey has the
        same name; or the audience is not live
    """

    template_fields_renderers = {"modifications": "json", "message_ids": "json"}  # noqa: RUF012  # Airflow's own annotation
    operator_extra_links = (CijJourneyLink(),)

    def __init__(
        self,
        *,
        template_id: str,
        name: str,
        modifications: Mapping[str, Any] | None = None,
        starts_at: datetime | str | None = None,
        ends_at: datetime | str | None = None,
        publish: bool = False,
        audience_segment_id: str | None = None,
        exclusion_segment_ids: Sequence[str] = (),
        suppression_segment_ids: Sequence[str] = (),
        message_ids: Mapping[str, str] | None = None,
        business_unit_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.template_id = template_id
        self.name = name
        self.modifications = modifications
        self.starts_at = starts_at
        self.ends_at = ends_at
        self.publish = publish
        self.audience_segment_id = audience_segment_id
        self.exclusion_segment_ids = exclusion_segment_ids
        self.suppression_segment_ids = suppression_segment_ids
        self.message_ids = message_ids
        self.business_unit_id = business_unit_id

    def _execute(self, context: Context) -> dict[str, Any]:
        """Create the journey."""
        from airflow_provider_cij.api.journeys.spec import JourneySpec

        spec = JourneySpec(
            template_id=self.template_id,
            name=self.name,
            modifications=_mapping("modifications", self.modifications),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            publish=self.publish,
            audience_segment_id=self.audience_segment_id,
            exclusion_segment_ids=tuple(self.exclusion_segment_ids),
            suppression_segment_ids=tuple(self.suppression_segment_ids),
            message_ids=_mapping("message_ids", self.message_ids),
            business_unit_id=self.business_unit_id,
        )
        since = context["dag_run"].run_after

        async def create(cij: Cij) -> ValidationResult:
            created = await cij.journeys.create(spec, since)
            self.show_link(context, {"journey_id": created.journey_id}, spec.name)
            return created

        with log_group(self.log, f"Create journey {spec.name!r}"):
            created = self.call(create)
        # create.output["journey_id"] reads the XCom that has this key.
        context["ti"].xcom_push(key="journey_id", value=created.journey_id)
        mode = "sent for publishing" if spec.publish else "a draft"
        self.log.info("Journey %r (%s) is %s", spec.name, created.journey_id, mode)
        for issue in created.issues:
            self.log.warning("%s: %s", issue.code, issue.message)
        status = "publishing" if spec.publish else "draft"
        facts = {"name": spec.name, "status": status, "audience": spec.audience_segment_id}
        self.emit_journey(context, {"journey_id": created.journey_id, **facts})
        issues = [issue.as_dict() for issue in created.issues]
        return {"journey_id": created.journey_id, "valid": created.valid, "errors": issues}


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value or {}, Mapping):
        raise CijInputError(f"{name} is a {type(value).__name__}.", hint="Give a dict.")
    return value or {}


class CijValidateJourneyOperator(CijOperator):
    """Have the service check a journey. Changes nothing.

    Source: "Use the Create Journey From Template API", related APIs. What the action answers is in no document: what it
    says is shown as it says it.

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result. Default None,
        ``journey_json`` is given
    :param journey_json: or its definition, a text or a dict. Default None, ``journey_id`` is given
    :param fail_on: ``"error"`` (default); ``"warning"``, then both fail the task; or ``"never"``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"valid", "errors", "warnings"}``; each issue has ``code``, ``message``, ``where`` and ``activity``
    :raises AirflowFailException: it is not valid, or the organisation's version has no such action
    """

    template_fields_renderers = {"journey_json": "json"}  # noqa: RUF012  # Airflow's own annotation
    operator_extra_links = (CijJourneyLink(),)

    def __init__(
        self,
        *,
        journey_id: str | None = None,
        journey_json: str | Mapping[str, Any] | None = None,
        fail_on: Literal["error", "warning", "never"] = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id
        self.journey_json = journey_json
        self.fail_on = fail_on

    def _execute(self, context: Context) -> dict[str, Any]:
        """Validate the journey."""
        from airflow_provider_cij.api.column_values import json_text
        from airflow_provider_cij.api.journeys.models import FOR_VALIDATION

        if (self.journey_id is None) == (self.journey_json is None):
            raise CijInputError("Give journey_id or journey_json.")
        given = self.journey_json
        text = given if isinstance(given, str) else json_text("journey_json", given)

        async def validate(cij: Cij) -> ValidationResult:
            if self.journey_id is None:
                return await cij.journeys.validate(text)
            journey = await cij.journeys.get(self.journey_id, FOR_VALIDATION)
            self.show_link(context, journey.summary(), journey.name)
            return await cij.journeys.validate(journey.definition)

        validation = self.call(validate)
        for line in _table(validation.issues):
            self.log.info("%s", line)
        result = validation.as_dict()
        context["ti"].xcom_push(key="validation", value=result)
        if validation.fails(self.fail_on):
            what = validation.in_words() if not validation.valid else f"{len(validation.warnings):,} warnings"
            raise CijJourneyInvalidError(f"The journey is not as it should be: {what}.", hint="The log lists them.")
        return result


def _table(issues: Sequence[ValidationIssue]) -> list[str]:
    if not issues:
        return ["The service finds nothing wrong with the journey"]
    rows = [("", "activity", "code", "message")]
    rows += [("warning" if issue.warning else "error", issue.where, issue.code, issue.message) for issue in issues]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])) for row in rows]


class CijPublishJourneyOperator(EmitsEvents, WaitingOperator):
    """Publish a draft journey and wait until it is live: it sends real mail to real people.

    The journey is read first, and only a draft is published; one that is live or publishing is waited for. When the
    response is lost, nothing is sent again before the journey has been read and is still a draft.

    Source: "Use the Create Journey From Template API", related APIs. What the action takes is in no document: the
    organisation is asked.

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted; default True. ``wait_until_live`` is its
        former name
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait in all, default 24 hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param emit_events: False emits no event on the journey's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "status"}``
    :raises AirflowFailException: the service finds mistakes in it, or it was stopped, which is final
    :raises CijTimeoutError: it is not live in time
    """

    operator_extra_links = (CijJourneyLink(),)

    def __init__(self, *, journey_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id

    async def _start(self, cij: Cij, context: Context, state: Mapping[str, Any]) -> Started:
        """Publish, and check once."""
        from airflow_provider_cij.api.journeys.models import JourneyStatus
        from airflow_provider_cij.api.journeys.wait import JourneyWait, found

        journey = await cij.journeys.get(self.journey_id)
        self.show_link(context, journey.summary(), journey.name)
        self.log.info("Publishing journey %r (%s), which is %s", journey.name, journey.journey_id, journey.status_name)
        await cij.journeys.publish(journey)
        wait = JourneyWait(journey.journey_id, publishing=journey.status == JourneyStatus.PUBLISHING)
        return Started(wait, *await self._check_once(cij, wait, found(journey, done=False)))

    def _complete(self, context: Context, check: Check, deadline: float, state: Mapping[str, Any]) -> Any:
        self.emit_journey(context, {**check.result, "name": check.name})
        return check.result
