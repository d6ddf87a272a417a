"""Create, validate and publish real-time journeys."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cij._arguments import one_of, positive, row_ids, set_switches
from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import (
    cosmetic,
    failing_for_good,
    log_group,
    name_of,
    summary_of,
)
from airflow_provider_cij.errors import CijError, CijInputError, CijJourneyInvalidError, CijStoppedError
from airflow_provider_cij.links import CijJourneyLink
from airflow_provider_cij.version_compat import conf

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.journeys.models import Finding, Journey, Verdict
    from airflow_provider_cij.api.journeys.wait import JourneyGoal
    from airflow_provider_cij.hooks.cij import Cij


class CijCreateJourneyOperator(CijOperator):
    """Creates a journey from a template, or from another journey: as a draft, unless told to publish it.

    Journeys are unique by name. One of this name counts as made by an earlier try, and is returned as it is, when this
    application user made it since the DAG run was due; any other fails the task. So put the run into the name, such as
    ``Newsletter {{ ds }}``. A lost reply, a server error and the service's own timeout are looked into by name before
    anything is sent again.

    Source: "Use the Create Journey From Template API" (documented in November 2025).

    :param template_id: the template, or a journey to copy (templated)
    :param name: up to 150 characters, unique in the organisation (templated)
    :param modifications: values by JSONPath, such as ``{"$.actions['…'].parameters.count": 2}``; numbers, lists and
        dicts as they are (templated, but for the paths)
    :param starts_at: a datetime with its time zone, or ISO 8601; in the future (templated)
    :param ends_at: likewise; up to 365 days after the start (templated)
    :param publish: True makes it live at once: it sends real mail to real people (templated)
    :param audience_segment_id: the segment it starts with, which must be live (templated)
    :param exclusion_segment_ids: segments whose members do not start (templated)
    :param suppression_segment_ids: segments whose members leave (templated)
    :param message_ids: e-mail ids (templated) by the id of the action that sends them
    :param business_unit_id: the owner, where business units are in use (templated)
    :param cij_conn_id: the Airflow connection
    :return: ``{"journey_id", "valid", "errors"}``; ``valid`` is None when an earlier try's draft can't be validated,
        ``errors`` what a draft may have
    :raises AirflowFailException: the service finds mistakes in it: each with its code; there is a journey of this name
        that is not ours; or the audience is not live
    """

    template_fields: Sequence[str] = (
        *("template_id", "name", "modifications", "starts_at", "ends_at", "audience_segment_id"),
        *("exclusion_segment_ids", "suppression_segment_ids", "message_ids", "business_unit_id", "publish"),
    )
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

    def execute(self, context: Context) -> dict[str, Any]:
        """Create it."""
        from airflow_provider_cij.api.journeys.spec import JourneySpec

        with failing_for_good():
            # A template that renders to "False" must not send mail.
            set_switches(self, "publish")
            spec = JourneySpec(
                template_id=self.template_id,
                name=str(self.name),
                modifications=_mapping("modifications", self.modifications),
                starts_at=self.starts_at,
                ends_at=self.ends_at,
                publish=self.publish,
                audience_segment_id=self.audience_segment_id,
                exclusion_segment_ids=_ids("exclusion_segment_ids", self.exclusion_segment_ids),
                suppression_segment_ids=_ids("suppression_segment_ids", self.suppression_segment_ids),
                message_ids=_mapping("message_ids", self.message_ids),
                business_unit_id=self.business_unit_id,
            )
        since = context["dag_run"].run_after

        async def create(cij: Cij) -> Verdict:
            verdict = await cij.journeys.create(spec, since)
            CijJourneyLink().show(self, context, cij.journey_url(verdict.journey_id), spec.name)
            return verdict

        with log_group(self.log, f"Create journey {spec.name!r}"):
            made = self.call(create)
        # So that the next task can say create.output["journey_id"]: Airflow takes that for an XCom of this name.
        context["ti"].xcom_push(key="journey_id", value=made.journey_id)
        mode = "sent for publishing" if spec.publish else "a draft"
        self.log.info("Journey %r is %s: %s", spec.name, mode, made.journey_id)
        for one in made.findings:
            self.log.warning("%s: %s", one.code, one.message)
        return {"journey_id": made.journey_id, "valid": made.valid, "errors": [one.as_dict() for one in made.findings]}


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value or {}, Mapping):
        raise CijInputError(f"{name} is a {type(value).__name__}.", hint="Give a dict.")
    return value or {}


def _ids(name: str, ids: Any) -> tuple[str, ...]:
    # A single id would be read letter by letter.
    if isinstance(ids, (str, Mapping)) or not isinstance(ids or (), Iterable):
        said = repr(ids) if isinstance(ids, str) else f"a {type(ids).__name__}"
        raise CijInputError(f"{name} is {said}.", hint="Give a list of ids.")
    return tuple(str(one) for one in ids or ())


class CijValidateJourneyOperator(CijOperator):
    """Has the service check a journey. Changes nothing.

    Source: "Use the Create Journey From Template API", related APIs. What the action answers is in no document: what it
    says is shown as it says it.

    :param journey_id: the journey (templated)
    :param journey_json: or its definition, a text or a dict (templated)
    :param fail_on: ``"error"``; ``"warning"``, then both fail the task; or ``"never"``
    :param cij_conn_id: the Airflow connection
    :return: ``{"valid", "errors", "warnings"}``; of each finding ``activity``, ``code`` and ``message``
    :raises AirflowFailException: it is not valid, or the organisation's version has no such action
    """

    template_fields: Sequence[str] = ("journey_id", "journey_json")
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

    def execute(self, context: Context) -> dict[str, Any]:
        """Validate it."""
        from airflow_provider_cij.api.column_values import json_text

        with failing_for_good():
            if (self.journey_id is None) == (self.journey_json is None):
                raise CijInputError("Give journey_id or journey_json.")
            if self.journey_id is not None:
                row_ids(journey_id=self.journey_id)
            one_of("fail_on", self.fail_on, "error", "warning", "never")
            given = self.journey_json
            text = given if isinstance(given, str) else json_text("journey_json", given)

        async def validate(cij: Cij) -> Verdict:
            if self.journey_id is None:
                return await cij.journeys.validate(text)
            journey = await cij.journeys.get(self.journey_id)
            CijJourneyLink().show(self, context, cij.journey_url(journey.journey_id), journey.name)
            return await cij.journeys.validate(await cij.journeys.json_of(journey.journey_id))

        verdict = self.call(validate)
        for line in _table(verdict.findings):
            self.log.info("%s", line)
        result = {
            "valid": verdict.valid,
            "errors": [_plain(one) for one in verdict.errors],
            "warnings": [_plain(one) for one in verdict.warnings],
        }
        context["ti"].xcom_push(key="validation", value=result)
        bad = not verdict.valid or (self.fail_on == "warning" and verdict.warnings)
        if bad and self.fail_on != "never":
            with failing_for_good():
                what = verdict.in_words() if not verdict.valid else f"{len(verdict.warnings)} warnings"
                raise CijJourneyInvalidError(f"The journey is not as it should be: {what}.", hint="The log lists them.")
        return result


def _plain(one: Finding) -> dict[str, str]:
    return {**one.as_dict(), "where": one.activity}


def _table(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["The service finds nothing wrong with the journey"]
    rows = [("", "activity", "code", "message")]
    rows += [("warning" if one.warning else "error", one.activity, one.code, one.message) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])) for row in rows]


class CijPublishJourneyOperator(CijOperator):
    """Publishes a draft journey and waits until it is live: it sends real mail to real people.

    The journey is looked at first, and only a draft is sent for; one that is live or on its way is waited for. An
    unclear end is looked into, and nothing is sent again before the journey was seen to be a draft still.

    Source: "Use the Create Journey From Template API", related APIs. What the action takes is in no document: the
    organisation is asked.

    :param journey_id: the journey (templated)
    :param wait_until_live: False returns as soon as the service has accepted
    :param poll_interval: seconds between looks; the first look of a deferred task comes after 5 s at the earliest
    :param timeout: seconds to wait in all
    :param deferrable: True waits in the triggerer, without a worker
    :param cij_conn_id: the Airflow connection
    :return: ``{"journey_id", "status"}``
    :raises AirflowFailException: the service finds mistakes in it, or it was stopped, which is final
    :raises CijTimeoutError: it is not live in time
    """

    template_fields: Sequence[str] = ("journey_id",)
    operator_extra_links = (CijJourneyLink(),)

    def __init__(
        self,
        *,
        journey_id: str,
        wait_until_live: bool = True,
        poll_interval: float = 30,
        timeout: float = 3600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id
        self.wait_until_live = wait_until_live
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and wait or defer."""
        from airflow_provider_cij.api.journeys.models import journey_summary
        from airflow_provider_cij.api.journeys.wait import JourneyGoal, look, wait

        with failing_for_good():
            set_switches(self, "wait_until_live", "deferrable")
            positive(poll_interval=self.poll_interval, timeout=self.timeout)
            row_ids(journey_id=self.journey_id)
        deadline = time.time() + self.timeout

        async def publish(cij: Cij) -> tuple[Journey, JourneyGoal, bool, float]:
            journey = await cij.journeys.get(self.journey_id)
            CijJourneyLink().show(self, context, cij.journey_url(journey.journey_id), journey.name)
            self.log.info("Publishing journey %r, which is %s", journey.name, journey.status_name)
            journey = await cij.journeys.publish(journey.journey_id)
            goal = JourneyGoal().after(journey)
            # It is published: what fails from here on is waited out.
            try:
                journey, outcome = await look(cij.journeys, journey.journey_id, goal)
            except CijError as error:
                if error.permanent or isinstance(error, CijStoppedError):
                    raise
                self.log.warning("Published; the journey could not be read, going on: %s", error)
                return journey, goal, False, time.time() + (error.retry_after or 0.0)
            self.log.info("Journey %s is %s", journey.journey_id, journey.status_name)
            return journey, goal.after(journey), outcome == "done", 0.0

        journey, goal, done, not_before = self.call(publish)
        if done or not self.wait_until_live:
            return journey_summary(journey)
        if self.deferrable:
            from airflow_provider_cij.triggers.journeys import CijJourneyTrigger

            self.defer(
                trigger=CijJourneyTrigger(
                    cij_conn_id=self.cij_conn_id,
                    journey_id=journey.journey_id,
                    until=goal.until,
                    publishing=goal.publishing,
                    poll_interval=self.poll_interval,
                    deadline=deadline,
                    not_before=not_before,
                ),
                method_name="execute_complete",
                # The trigger keeps the deadline; this is for a triggerer that never ran it.
                timeout=timedelta(seconds=self.timeout + 60),
            )

        async def until_live(cij: Cij) -> Journey:
            return await wait(
                cij.journeys,
                journey.journey_id,
                goal,
                poll_interval=self.poll_interval,
                deadline=deadline,
                first_after=max(self.poll_interval, not_before - time.time()),
            )

        with log_group(self.log, "Wait until live"):
            return journey_summary(self.call(until_live))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the trigger's word."""
        with failing_for_good():
            result = summary_of(event, "journey")
        with cosmetic(self.log, "The journey's link"):
            CijJourneyLink().show(self, context, self.hook.journey_url(result["journey_id"]), name_of(event))
        self.log.info("Journey %(journey_id)s is %(status)s", result)
        return result
