"""What operators and sensors are made of: the connection, the call to the service, and how they fail."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator

from airflow_provider_cij.api.wait import Check
from airflow_provider_cij.errors import CijError, CijThrottledError
from airflow_provider_cij.retry_policy import CijRetryPolicy
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY, AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.hooks.cij import CijHook

T = TypeVar("T")

_OVER = ("live", "refreshed", "stopped", "members", "completed", "finished", "publish_again")
# A service that throttles a task for longer than this is down.
_LONGEST_THROTTLING = 24 * 3600.0


@contextmanager
def permanent_failures(soft_fail: bool = False) -> Iterator[None]:
    """Raise AirflowFailException for an error that no retry can mend.

    :param soft_fail: of a sensor. With it Airflow would skip on its own exceptions; a ``CijError`` fails the task
    """
    try:
        yield
    except CijError as error:
        if error.permanent and not soft_fail:
            raise AirflowFailException(str(error)) from error
        raise


@contextmanager
def log_group(log: Any, title: str) -> Iterator[None]:
    """Fold what is logged within, in the Airflow UI.

    :param log: the task's
    :param title: of the group
    """
    log.info("::group::%s", title)
    try:
        yield
    finally:
        log.info("::endgroup::")


@contextmanager
def best_effort(log: Any, what: str) -> Iterator[None]:
    """Log what fails within, and go on: the task's work is done, and a retry would do it again.

    :param log: the task's
    :param what: is read or shown within, for the log
    """
    try:
        yield
    except Exception as error:
        log.warning("%s could not be read: %s", what, error)


def check_of_event(event: Mapping[str, Any] | None, key: str) -> Check:
    """Return the check that a trigger's event holds.

    :param event: what the trigger sent
    :param key: where the event holds the result
    :raises CijError: the trigger reports a failure; or there is no event, or an unknown one: never a success
    """
    if event and event.get("status") in _OVER and isinstance(event.get(key), dict):
        result, name = dict(event[key]), str(event.get("name") or "")
        status = event["status"] if event["status"] == "publish_again" else ""
        message = str(event.get("message") or f"{name!r} is {event['status']}")
        return Check(True, name, message, result, status, str(event.get("evaluated_at") or ""))
    if event and isinstance(event.get("error"), dict):
        raise CijError.from_dict(event["error"])
    raise CijError(f"The trigger came back with {event!r}, which says neither success nor failure.")


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
        # Imported late: parsing a DAG file must not cost what msal costs.
        from airflow_provider_cij.hooks.cij import CijHook

        return CijHook(self.cij_conn_id)

    def on_kill(self) -> None:
        """End the task: nothing new is sent; requests in flight may arrive. Airflow allows 5 seconds."""
        if "hook" in self.__dict__:
            self.hook.stop()


class CijOperator(CijTask):
    """A task that changes something. It is idempotent: a retry does what is left to do."""

    ui_color = "#d8e8f8"

    # Epoch seconds at which the service first asked for a longer wait than a worker sleeps, in this try.
    _throttled_since = 0.0

    def call(self, work: Callable[[Cij], Awaitable[T]]) -> T:
        """Run a coroutine function on an open client.

        When the service asks for a wait that is longer than the connection's ``max_throttle_wait_seconds``, the worker
        is given back, and the task begins again afterwards.

        :param work: is given the open client
        :return: what it returns
        :raises AirflowFailException: it failed, and no retry can mend that
        """
        try:
            with permanent_failures():
                return self.hook.run(work)
        except CijThrottledError as error:
            since = self._throttled_since or time.time()
            if not self.hook.exceeds_max_wait(error) or time.time() - since > _LONGEST_THROTTLING:
                raise
            from airflow_provider_cij.triggers.pause import CijPauseTrigger

            pause = error.retry_after or 0.0
            self.log.info("%s The task continues in %s s", error, f"{pause:,.0f}")
            self.defer(
                trigger=CijPauseTrigger(until=time.time() + pause, since=since),
                method_name="resume_after_throttle",
                timeout=timedelta(seconds=pause + 600),
            )

    def resume_after_throttle(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Begin again after a pause."""
        self._throttled_since = float((event or {}).get("since") or time.time())
        return self.execute(context)

    # Tasks that the first version deferred name it.
    go_on = resume_after_throttle
