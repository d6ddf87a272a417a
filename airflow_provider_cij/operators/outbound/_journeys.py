"""Outbound journeys, behind ``operators.outbound``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cij._base import CijOperator, log_group
from airflow_provider_cij.errors import CijInputError, CijOutboundInvalidError
from airflow_provider_cij.files import reading_text
from airflow_provider_cij.links import CijJourneyLink
from airflow_provider_cij.operators._keys import Keyed, key_of
from airflow_provider_cij.operators.outbound._base import (
    ChangeStatusMixin,
    DeleteMixin,
    OutboundJourneyTask,
    made,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec
    from airflow_provider_cij.api.outbound.rows import CreatedOutbound
    from airflow_provider_cij.api.segments.spec import IfExists
    from airflow_provider_cij.api.validation import ValidationResult


class _Described(CijOperator):
    """A task with the properties of a journey as arguments."""

    outbound = True
    operator_extra_links = (CijJourneyLink(),)

    def __init__(
        self,
        *,
        name: str | None = None,
        workflow: str | Sequence[Mapping[str, Any]] | None = None,
        content_settings_id: str | None = None,
        starts_at: datetime | str | None = None,
        ends_at: datetime | str | None = None,
        time_zone: int | None = None,
        required_consent: str | None = None,
        suppression_segment_id: str | None = None,
        recurring: bool | None = None,
        recurrence_interval_days: int | None = None,
        recurrence_count: int | None = None,
        target: str | None = None,
        journey_type: str | None = None,
        designer_state: str | Mapping[str, Any] | None = None,
        owner_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.workflow = workflow
        self.content_settings_id = content_settings_id
        self.starts_at = starts_at
        self.ends_at = ends_at
        self.time_zone = time_zone
        self.required_consent = required_consent
        self.suppression_segment_id = suppression_segment_id
        self.recurring = recurring
        self.recurrence_interval_days = recurrence_interval_days
        self.recurrence_count = recurrence_count
        self.target = target
        self.journey_type = journey_type
        self.designer_state = designer_state
        self.owner_id = owner_id

    def _spec(self) -> OutboundJourneySpec:
        from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec

        given = {column.name: getattr(self, column.name) for column in fields(OutboundJourneySpec)}
        return OutboundJourneySpec(**given | {"workflow": _workflow(self.workflow)})


def _workflow(workflow: Any) -> Any:
    """Read a workflow from a file, if it is given as one: JSON text begins with a bracket, a path does not."""
    if not isinstance(workflow, str) or workflow.lstrip()[:1] in ("[", "{"):
        return workflow
    with reading_text(workflow.strip(), "utf-8-sig") as file:
        return file.read().strip()


class CijOutboundCreateJourneyOperator(Keyed, _Described):
    """Create an outbound journey as a draft, or update the one with the same key, which keeps its status.

    Its id derives from ``key``: each run and each retry finds the same journey. What agrees already is not written.
    The workflow is checked before anything is sent: ids that come twice, parents that are missing.

    Microsoft removed outbound marketing in 2026. In an organisation without it the task fails, and the error says so.

    Source: "Basic outbound marketing customer journey API operations".

    :param name: what people see, up to 100 characters
    :param workflow: its tiles: JSON text, the path of a file that holds it, or what it would be in Python;
        ``segment_email_workflow`` builds a simple one. Default None, not written
    :param key: names the journey; by default ``dag_id.task_id``. A mapped task must give one for each entry
    :param if_exists: ``"update"`` (default) what differs, ``"reuse"`` it as it is, or ``"fail"``
    :param content_settings_id: the content settings that its e-mails use. Default None, not written
    :param starts_at: a datetime with its time zone, or ISO 8601; the service keeps minutes. Default None, not written
    :param ends_at: a datetime with its time zone, or ISO 8601; the service keeps minutes. Default None, not written
    :param time_zone: the number of the time zone that people see it in. Default None, not written
    :param required_consent: the least consent: ``consent``, ``transactional``, ``subscriptions``, ``marketing`` or
        ``profiling``. Default None, not written
    :param suppression_segment_id: an outbound segment of people who get nothing. Default None, not written
    :param recurring: True when it goes through iterations. Default False
    :param recurrence_interval_days: days of an iteration. Default None, not written
    :param recurrence_count: the number of iterations. Default None, not written
    :param target: ``contact`` (default) or ``account``
    :param journey_type: ``automated`` (default) or ``linkedin``
    :param designer_state: what the designer keeps for itself; to be copied together with a workflow. Default None, not
        written
    :param owner_id: a user. Default None, not written
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "created": bool, "changed": bool, "status"}``
    :raises AirflowFailException: the journey can't be right, or the service refuses it, with its words
    """

    template_fields_renderers = {"workflow": "json"}  # noqa: RUF012  # Airflow's own annotation

    def __init__(
        self,
        *,
        name: str,
        if_exists: IfExists = "update",
        recurring: bool = False,
        target: str = "contact",
        journey_type: str = "automated",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, recurring=recurring, target=target, journey_type=journey_type, **kwargs)
        self.if_exists = if_exists

    def _execute(self, context: Context) -> dict[str, Any]:
        """Create the journey, or update it."""
        from airflow_provider_cij.api.outbound.journeys import journey_id_of, journey_row

        spec = self._spec()
        journey_row(spec)  # what can't be right is refused before anybody is asked
        key = key_of(self, context)
        self.show_link(context, {"journey_id": journey_id_of(key)}, str(self.name))
        context["ti"].xcom_push(key="journey_id", value=journey_id_of(key))
        with log_group(self.log, f"Create outbound journey {self.name!r}"):
            created = self.call(lambda cij: cij.outbound.journeys.create(key, spec, self.if_exists))
        return made(created, "journey", self.log)


class CijOutboundUpdateJourneyOperator(_Described):
    """Change what is given of an outbound journey, and leave the rest; its status stays.

    Nothing is written where nothing differs.

    Source: "Basic outbound marketing customer journey API operations".

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param name: what people see, up to 100 characters. Default None, it stays as it is
    :param workflow: its tiles: JSON text, the path of a file that holds it, or what it would be in Python;
        ``segment_email_workflow`` builds a simple one. Default None, it stays as it is
    :param content_settings_id: the content settings that its e-mails use. Default None, it stays as it is
    :param starts_at: a datetime with its time zone, or ISO 8601; the service keeps minutes. Default None, it stays as
        it is
    :param ends_at: a datetime with its time zone, or ISO 8601; the service keeps minutes. Default None, it stays as it
        is
    :param time_zone: the number of the time zone that people see it in. Default None, it stays as it is
    :param required_consent: the least consent: ``consent``, ``transactional``, ``subscriptions``, ``marketing`` or
        ``profiling``. Default None, it stays as it is
    :param suppression_segment_id: an outbound segment of people who get nothing. Default None, it stays as it is
    :param recurring: True when it goes through iterations. Default None, it stays as it is
    :param recurrence_interval_days: days of an iteration. Default None, it stays as it is
    :param recurrence_count: the number of iterations. Default None, it stays as it is
    :param target: ``contact`` or ``account``. Default None, it stays as it is
    :param journey_type: ``automated`` or ``linkedin``. Default None, it stays as it is
    :param designer_state: what the designer keeps for itself; to be copied together with a workflow. Default None, it
        stays as it is
    :param owner_id: a user. Default None, it stays as it is
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "created": False, "changed": bool, "status", "changes"}``
    :raises AirflowFailException: there is no such journey, a value can't be right, or the service refuses it
    """

    template_fields_renderers = {"workflow": "json"}  # noqa: RUF012  # Airflow's own annotation

    def __init__(self, *, journey_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id

    def _execute(self, context: Context) -> dict[str, Any]:
        """Update the journey."""
        from airflow_provider_cij.api.outbound.journeys import journey_row

        spec = self._spec()
        journey_row(spec)  # what can't be right is refused before anybody is asked

        async def update(cij: Cij) -> CreatedOutbound:
            journey = await cij.outbound.journeys.get(self.journey_id)
            self.show_link(context, journey.summary(), journey.name)
            return await cij.outbound.journeys.update(journey.row_id, spec)

        return made(self.call(update), "journey", self.log)


class CijOutboundValidateJourneyOperator(_Described):
    """Check an outbound journey for errors: one that is there, or one that is described as for creating it.

    With ``journey_id`` the journey is checked as it is, with what else is given in place of what it has.

    Source: "Basic outbound marketing customer journey API operations", section "Check for Errors".

    :param journey_id: a journey that is there. Default None, one that is not there
    :param name: what people see, up to 100 characters. Default None, as it is
    :param workflow: its tiles: JSON text, the path of a file that holds it, or what it would be in Python;
        ``segment_email_workflow`` builds a simple one. Default None, as it is
    :param content_settings_id: the content settings that its e-mails use. Default None, as it is
    :param starts_at: a datetime with its time zone, or ISO 8601; the service keeps minutes. Default None, as it is
    :param ends_at: a datetime with its time zone, or ISO 8601; the service keeps minutes. Default None, as it is
    :param time_zone: the number of the time zone that people see it in. Default None, as it is
    :param required_consent: the least consent: ``consent``, ``transactional``, ``subscriptions``, ``marketing`` or
        ``profiling``. Default None, as it is
    :param suppression_segment_id: an outbound segment of people who get nothing. Default None, as it is
    :param recurring: True when it goes through iterations. Default None, as it is
    :param recurrence_interval_days: days of an iteration. Default None, as it is
    :param recurrence_count: the number of iterations. Default None, as it is
    :param target: ``contact`` or ``account``. Default None, as it is
    :param journey_type: ``automated`` or ``linkedin``. Default None, as it is
    :param designer_state: what the designer keeps for itself; to be copied together with a workflow. Default None, as
        it is
    :param owner_id: a user. Default None, as it is
    :param key: names a journey that is not there; by default ``dag_id.task_id``, and a mapped task must give one
    :param fail_on: ``"error"`` (default); ``"warning"`` for errors and warnings; ``"never"``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"valid": bool, "result", "errors": [{"code", "message", "where", "activity_id", "fault", "arguments"}],
        "warnings": […]}``; ``code`` and ``fault`` are the service's code, ``where`` and ``activity_id`` the tile,
        ``message`` says both in words. In XCom as ``validation`` too, before the task fails
    :raises AirflowFailException: it has errors (or warnings); they are in the message and in the log
    """

    template_fields_renderers = {"workflow": "json"}  # noqa: RUF012  # Airflow's own annotation

    def __init__(
        self,
        *,
        journey_id: str | None = None,
        key: str | None = None,
        fail_on: Literal["error", "warning", "never"] = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id
        self.key = key
        self.fail_on = fail_on

    def _execute(self, context: Context) -> dict[str, Any]:
        """Check the journey."""
        from airflow_provider_cij.api.outbound.journeys import journey_id_of, journey_row
        from airflow_provider_cij.api.outbound.models import OutboundStatus

        if self.journey_id is None and not self.name:
            raise CijInputError("Give journey_id, or at least the name of the journey to check.")
        row = journey_row(self._spec())
        key = key_of(self, context) if self.journey_id is None else ""

        async def check(cij: Cij) -> tuple[str, ValidationResult]:
            journeys, whole = cij.outbound.journeys, {"statuscode": int(OutboundStatus.DRAFT), **row}
            if self.journey_id is not None:
                whole = {**await journeys.columns(self.journey_id), **row}
            name = str(whole.get("msdyncrm_name") or "")
            journey_id = self.journey_id or journey_id_of(key)
            if self.journey_id:
                self.show_link(context, {"journey_id": journey_id}, name)
            return name, await journeys.validate(journey_id, whole, whole["statuscode"])

        name, validation = self.call(check)
        for issue in validation.issues:
            self.log.warning("%s: %s", "Warning" if issue.warning else "Error", issue.message)
        result = validation.as_dict()
        context["ti"].xcom_push(key="validation", value=result)
        if validation.fails(self.fail_on):
            said = "; ".join(issue.message for issue in (*validation.errors, *validation.warnings))
            raise CijOutboundInvalidError(
                f"The check of the outbound journey {name!r} ended in {validation.result}: {said or 'no details'}."
            )
        self.log.info("The check of the outbound journey %r ended in %s", name, validation.result)
        return result


class CijOutboundPublishJourneyOperator(ChangeStatusMixin, OutboundJourneyTask):
    """Set an outbound journey going live, and wait until it is live. From then on it mails real people.

    A journey that is live or going live already is left alone: a retry does not publish it twice. A status from which
    it can't go live is refused before anything is sent, naming those that are possible.

    Source: "Basic outbound marketing customer journey API operations".

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted; default True. ``wait_until_live`` is its
        former name
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait in all, default 24 hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "status"}``
    :raises AirflowFailException: it ended in Error, with what its check for errors found
    :raises CijTimeoutError: it is not live in time
    """


class CijOutboundStopJourneyOperator(ChangeStatusMixin, OutboundJourneyTask):
    """Stop a live outbound journey, and wait until it is stopped.

    Only Live and Error can be stopped; "Live, Editable" must be published first.

    Source: "Basic outbound marketing customer journey API operations".

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted; default True. ``wait_until_stopped`` is
        its former name
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait in all, default 24 hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "status"}``
    :raises AirflowFailException: it can't be stopped
    :raises CijTimeoutError: it is not stopped in time
    """

    publishes = False


class CijOutboundDeleteJourneyOperator(DeleteMixin, OutboundJourneyTask):
    """Delete an outbound journey.

    Source: "Basic outbound marketing customer journey API operations".

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param missing_ok: False fails when there is nothing to delete; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "deleted": bool}``; ``deleted`` is False when there was nothing to delete
    :raises AirflowFailException: the service refuses
    """
