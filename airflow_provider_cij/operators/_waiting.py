"""Operators that change something and then wait for its effect: in the worker, or in the triggerer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_cij._arguments import positive
from airflow_provider_cij._base import CijOperator, best_effort, log_group, push_waiting
from airflow_provider_cij.errors import CijError, CijStoppedError
from airflow_provider_cij.version_compat import conf

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.wait import Check, Wait


# Where the state of a deferral keeps the segments and journeys by their ids: their names are rendered anew after it.
_RECORDS = "records"


class Started(NamedTuple):
    """What starting has come to.

    :param wait: what is waited for
    :param check: what the first check found
    :param not_before: epoch seconds before which the service must not be asked
    :param state: what ``_complete`` is given, also after a deferral; plain JSON
    """

    wait: Wait
    check: Check
    not_before: float = 0.0
    state: Mapping[str, Any] = {}


class WaitingOperator(CijOperator):
    """An operator that changes something and waits for its effect.

    :param wait: False returns as soon as the service has accepted
    :param poll_interval: seconds between checks
    :param timeout: seconds to wait in all
    :param deferrable: True waits in the triggerer, without a worker
    :param wait_until_live: the former name of ``wait``
    :param wait_until_stopped: the former name of ``wait``, for stopping
    """

    def __init__(
        self,
        *,
        wait: bool = True,
        poll_interval: float = 30,
        timeout: float = 24 * 3600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        wait_until_live: bool | None = None,
        wait_until_stopped: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, former in (("wait_until_live", wait_until_live), ("wait_until_stopped", wait_until_stopped)):
            if former is not None:
                warnings.warn(f"{name} is called wait by now.", DeprecationWarning, stacklevel=3)
                wait = former
        self.wait = wait
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable

    def _check_arguments(self) -> None:
        """Check the arguments; raise CijInputError."""

    async def _start(self, cij: Cij, context: Context, state: Mapping[str, Any]) -> Started:
        """Change something, and check once.

        :param cij: the organisation
        :param context: of the running task
        :param state: empty at first; what ``_complete`` gave when it starts again
        """
        raise NotImplementedError

    async def _recover(self, cij: Cij, error: CijError, state: Mapping[str, Any]) -> Check:
        """Return what a wait that failed has come to all the same; by default raise its error."""
        raise error

    def _complete(self, context: Context, check: Check, deadline: float, state: Mapping[str, Any]) -> Any:
        """Return the task's result once the wait is over, or start again.

        :param context: of the running task
        :param check: the last one
        :param deadline: epoch seconds to give up at
        :param state: what ``_start`` gave
        """
        return check.result

    def _execute(self, context: Context) -> Any:
        """Start, and wait or defer."""
        positive(poll_interval=self.poll_interval, timeout=self.timeout)
        self._check_arguments()
        return self._run(context, time.time() + self.timeout)

    def _run(self, context: Context, deadline: float, state: Mapping[str, Any] | None = None) -> Any:
        started = self.call(partial(self._start, context=context, state=state or {}))
        check = started.check
        if not check.done and self.wait:
            if self.deferrable:
                self._defer(context, started, deadline)
            with log_group(self.log, f"Wait until {started.wait.until}"):
                check = self.call(partial(self._until_done, started, deadline))
        return self._complete(context, check, deadline, started.state)

    def _defer(self, context: Context, started: Started, deadline: float) -> None:
        from airflow_provider_cij.triggers import trigger_of

        push_waiting(context, self.log, started.wait.subject, started.wait.until, deadline)
        self.defer(
            trigger=trigger_of(
                started.wait,
                cij_conn_id=self.cij_conn_id,
                poll_interval=self.poll_interval,
                deadline=deadline,
                not_before=started.not_before,
                state={**started.state, _RECORDS: {name: getattr(self, name) for name, _ in self._records()}},
            ),
            method_name="execute_complete",
            # The trigger keeps the deadline; this is for a triggerer that never ran it.
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + 60),
        )

    async def _until_done(self, started: Started, deadline: float, cij: Cij) -> Check:
        from airflow_provider_cij.api.wait import wait_until

        poll_interval = min(self.poll_interval, cij.dataverse.settings.max_poll_seconds)
        first_after = max(poll_interval, started.not_before - time.time())
        try:
            return await wait_until(
                started.wait, cij, poll_interval=poll_interval, deadline=deadline, first_after=first_after
            )
        except CijError as error:
            return await self._recover(cij, error, started.state)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Read the trigger's event, and complete the task."""
        with self._failing_plainly(context):
            self._read_arguments()
            return self._after_event(context, event or {})

    def _after_event(self, context: Context, event: dict[str, Any]) -> Any:
        from airflow_provider_cij.triggers._waiting import check_of_event

        state = dict(event.get("state") or {})
        for name, found in state.pop(_RECORDS, {}).items():
            setattr(self, name, found)
        try:
            check = check_of_event(event)
        except CijError as error:
            # Not by ``call``: a throttled task would begin again, and change once more what was changed already.
            check = self.hook.run(partial(self._recover, error=error, state=state))
        else:
            with best_effort(self.log, "The link"):
                self.show_link(context, check.result, check.name)
            self.log.info("%s", check.message)
        return self._complete(context, check, float(event.get("deadline") or time.time()), state)

    async def _check_once(self, cij: Cij, wait: Wait, otherwise: Check) -> tuple[Check, float]:
        """Check once after a change: what fails from here on is waited out, and never answered by a second change.

        :param cij: the organisation
        :param wait: what is waited for
        :param otherwise: the check that stands when it fails
        :return: the check, and epoch seconds before which the service must not be asked
        """
        try:
            check = await wait.check(cij)
        except CijError as error:
            if error.permanent or isinstance(error, CijStoppedError):
                raise
            self.log.warning("%s could not be read, checking again: %s", wait.subject, error)
            return otherwise, time.time() + (error.retry_after or 0.0)
        self.log.info("%s", check.message)
        return check, 0.0
