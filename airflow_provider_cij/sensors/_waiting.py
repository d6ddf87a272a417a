"""What the sensors have in common: the same wait in poke, reschedule and deferrable mode."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_cij._arguments import positive, set_switches
from airflow_provider_cij._base import CijTask
from airflow_provider_cij._task import cosmetic, failing_for_good, name_of, run, summary_of
from airflow_provider_cij.errors import CijError, CijTimeoutError
from airflow_provider_cij.version_compat import AirflowRescheduleException, AirflowSensorTimeout, conf

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_cij.hooks.cij import Cij


class WaitSensor(CijTask, BaseSensorOperator):
    """Looks at something until it is as it should be."""

    ui_color = "#e4f1de"
    what: str = ""
    """``segment``, for one."""
    event_key = ""
    """Where the summary is in the trigger's event; by default under ``what``."""
    # Epoch seconds: the service has told us to stay away until then.
    _told_until = 0.0

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    def _goal(self, context: Context) -> Any:
        """Say what is waited for; raises CijInputError."""
        raise NotImplementedError

    def _trigger(self, goal: Any, deadline: float, not_before: float) -> BaseTrigger:
        """Make the trigger that waits for it, and looks not before then."""
        raise NotImplementedError

    async def _look(self, cij: Cij, goal: Any, context: Context) -> tuple[dict[str, Any], str, bool]:
        """Look once, show the link; give the summary, what is seen in words, and whether it is done."""
        raise NotImplementedError

    def _tell(self, context: Context, result: dict[str, Any], name: str) -> None:
        """Show the link and log what the trigger has seen."""
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait, in the worker or in the triggerer."""
        with failing_for_good():
            goal = self._goal(context)
            set_switches(self, "deferrable", "soft_fail")
            positive(poke_interval=self.poke_interval, timeout=self.timeout)
        if not self.deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        first = self.poke(context)
        if not first:
            self.defer(
                trigger=self._trigger(goal, deadline, self._told_until),
                method_name="execute_complete",
                # The trigger keeps the deadline; this is for a triggerer that never ran it.
                timeout=timedelta(seconds=self.timeout + 60),
            )
        return first.xcom_value

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once, but never earlier than the service has said."""
        goal = self._goal(context)
        if (early := self._told_until - time.time()) > 0:
            self.log.info("The service wants no request for another %.0f s", early)
            return PokeReturnValue(is_done=False)
        try:
            result, words, done = run(self.hook, lambda cij: self._look(cij, goal, context), self.soft_fail)
        except CijError as error:
            if error.permanent:
                raise
            self.log.warning("The %s could not be read, going on: %s", self.what, error)
            self._told_until = time.time() + (error.retry_after or 0.0)
            if self.reschedule and (error.retry_after or 0.0) > self.poke_interval:
                moment = datetime.fromtimestamp(self._told_until, UTC)
                raise AirflowRescheduleException(moment) from None  # type: ignore[no-untyped-call]
            return PokeReturnValue(is_done=False)
        self.log.info("%s", words)
        return PokeReturnValue(is_done=done, xcom_value=result if done else None)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the trigger's word."""
        try:
            with failing_for_good(self.soft_fail):
                result = summary_of(event, self.event_key or self.what)
        except CijTimeoutError as error:
            raise AirflowSensorTimeout(str(error)) from error
        with cosmetic(self.log, "The link"):
            self._tell(context, result, name_of(event))
        return result
