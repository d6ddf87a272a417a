"""What the sensors have in common: the same wait in poke, reschedule and deferrable mode."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_cij._arguments import positive, switch
from airflow_provider_cij._base import CijTask, best_effort, push_note, push_waiting
from airflow_provider_cij.errors import CijError, CijTimeoutError
from airflow_provider_cij.version_compat import AirflowRescheduleException, AirflowSensorTimeout, conf

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.wait import Check, Wait


class WaitSensor(CijTask, BaseSensorOperator):
    """Checks something until it is as it should be.

    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's
    """

    ui_color = "#e4f1de"
    # Epoch seconds before which the service must not be asked.
    _not_before = 0.0

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    def _wait(self, context: Context) -> Wait:
        """Return what is waited for; raise CijInputError."""
        raise NotImplementedError

    def _execute(self, context: Context) -> Any:
        """Wait, in the worker or in the triggerer."""
        self.soft_fail = switch("soft_fail", self.soft_fail)
        wait = self._wait(context)
        positive(poke_interval=self.poke_interval, timeout=self.timeout)
        self.poke_interval = min(self.poke_interval, self.hook.settings().max_poll_seconds)
        if not self.deferrable:
            return BaseSensorOperator.execute(self, context)
        deadline = time.time() + self.timeout
        first = self.poke(context)
        if not first:
            from airflow_provider_cij.triggers import trigger_of

            push_waiting(context, self.log, wait.subject, wait.until, deadline)
            self.defer(
                trigger=trigger_of(
                    wait,
                    cij_conn_id=self.cij_conn_id,
                    poll_interval=self.poke_interval,
                    deadline=deadline,
                    not_before=self._not_before,
                ),
                method_name="execute_complete",
                # The trigger keeps the deadline; this is for a triggerer that never ran it.
                timeout=timedelta(seconds=self.timeout + 60),
            )
        return first.xcom_value

    def poke(self, context: Context) -> PokeReturnValue:
        """Check once, but never earlier than the service asked for."""
        wait = self._wait(context)
        if (early := self._not_before - time.time()) > 0:
            self.log.info("The service asked not to be called for another %.0f s", early)
            return PokeReturnValue(is_done=False)
        try:
            check: Check = self.hook.run(wait.check)
        except CijError as error:
            if error.permanent:
                raise
            self.log.warning("%s could not be read, checking again: %s", wait.subject, error)
            self._not_before = time.time() + (error.retry_after or 0.0)
            if self.reschedule and (error.retry_after or 0.0) > self.poke_interval:
                moment = datetime.fromtimestamp(self._not_before, UTC)
                raise AirflowRescheduleException(moment) from None  # type: ignore[no-untyped-call]
            return PokeReturnValue(is_done=False)
        self.show_link(context, check.result, check.name)
        self.log.info("%s", check.message)
        return PokeReturnValue(is_done=check.done, xcom_value=check.result if check.done else None)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the trigger's event, and return its result."""
        from airflow_provider_cij.triggers._waiting import check_of_event

        with self._failing_plainly(context):
            self._read_arguments()
            try:
                check = check_of_event(event)
            except CijTimeoutError as error:
                push_note(context, self.log, "cij_error", message=error.message, code=error.code, hint=error.hint)
                raise AirflowSensorTimeout(str(error)) from None
        with best_effort(self.log, "The link"):
            self.show_link(context, check.result, check.name)
        self.log.info("%s", check.message)
        return check.result
