"""What operators and sensors are made of: the connection, the call into the service, and how it is broken off."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator

from airflow_provider_cij._task import hook_of, run
from airflow_provider_cij.errors import CijThrottledError
from airflow_provider_cij.retry_policy import CijRetryPolicy
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.hooks.cij import Cij, CijHook

T = TypeVar("T")

# A service that asks for patience day after day is down.
_PATIENCE = 24 * 3600.0


class CijTask(BaseOperator):
    """A task on a connection of type ``cij``.

    On Airflow 3.3 and newer its retries follow ``CijRetryPolicy``, unless it has a policy of its own.

    :param cij_conn_id: the Airflow connection
    """

    def __init__(self, *, cij_conn_id: str = "cij_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cij_conn_id = cij_conn_id
        if TAKES_RETRY_POLICY and self.retry_policy is None:
            self.retry_policy = CijRetryPolicy()

    @cached_property
    def hook(self) -> CijHook:
        """The connection's hook."""
        return hook_of(self)

    def on_kill(self) -> None:
        """End: nothing new is sent, what is on its way may arrive. Airflow gives 5 seconds."""
        if "hook" in self.__dict__:
            self.hook.stop()


class CijOperator(CijTask):
    """A task that does something. Doing it again does what is left to do."""

    ui_color = "#d8e8f8"

    # When the service first asked for more patience than a worker has, in this try.
    _patient_since = 0.0

    def call(self, work: Callable[[Cij], Awaitable[T]]) -> T:
        """Run a coroutine function on an open client.

        A service that asks for a longer wait than the connection's ``max_throttle_wait_seconds`` gets it: the worker is
        given back, and the task begins again afterwards.
        """
        try:
            return run(self.hook, work)
        except CijThrottledError as error:
            since = self._patient_since or time.time()
            if not self.hook.asks_for_too_much(error) or time.time() - since > _PATIENCE:
                raise
            from airflow_provider_cij.triggers.pause import CijPauseTrigger

            pause = error.retry_after or 0.0
            self.log.info("%s The task goes on in %.0f s", error, pause)
            self.defer(
                trigger=CijPauseTrigger(until=time.time() + pause, since=since),
                method_name="go_on",
                timeout=timedelta(seconds=pause + 600),
            )

    def go_on(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Begin again after a pause."""
        self._patient_since = float((event or {}).get("since") or time.time())
        return self.execute(context)
