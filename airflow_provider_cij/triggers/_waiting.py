"""What the triggers that wait have in common: one loop, one session for all, and every end is an event."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.dataverse.texts import storable
from airflow_provider_cij.errors import CijError, CijOperationFailedError, CijTimeoutError

if TYPE_CHECKING:
    from airflow_provider_cij.api.wait import Check, Wait

# An event within seconds of the deferral can meet the worker's own "I have deferred", and then fails the task
# (apache/airflow#66374).
_FIRST_CHECK_AFTER = 5.0

_SESSION = "airflow_provider_cij.triggers._session"
_OVER = ("live", "refreshed", "stopped", "members", "completed", "finished", "publish_again")
# Where the triggers' events hold the result.
_RESULTS = ("segment", "journey", "outbound")


async def load_session() -> None:
    """Import what a session needs. The first time that takes 0.2 s: too long for an event loop that others share."""
    if not hasattr(sys.modules.get(_SESSION), "shared_session"):
        await asyncio.to_thread(importlib.import_module, _SESSION)


@dataclass(eq=False)
class WaitTrigger(BaseTrigger):
    """Check until a wait is over. It only reads: what changes anything runs in the worker.

    All triggers of a connection in one process share a client, a token and a poll.

    Rows of its classes lie in Airflow's database across upgrades: they never move, their constructors never raise, and
    every argument has a default.

    :param cij_conn_id: the Airflow connection
    :param poll_interval: seconds between checks
    :param deadline: epoch seconds to give up at; absolute, so that it outlives a restart
    :param not_before: epoch seconds before which the service must not be asked
    :param state: what the event hands back to the worker: ``dag.test()`` keeps no other state
    """

    event_key: ClassVar[str]
    """Where the event holds the result."""

    cij_conn_id: str = "cij_default"
    poll_interval: float = 60.0
    deadline: float = 0.0
    not_before: float = 0.0
    state: Mapping[str, Any] | None = None
    until: str = "live"

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class and arguments, as Airflow stores them: plain JSON, no secret."""
        kind = type(self)
        arguments = {argument.name: getattr(self, argument.name) for argument in fields(self)}
        return f"{kind.__module__}.{kind.__qualname__}", arguments

    def wait(self) -> Wait:
        """Return what is waited for."""
        raise NotImplementedError

    def _first_after(self, poll_interval: float) -> float:
        """Return the seconds before which there is no check: the first is a poll interval later on average."""
        # In dag.test() no worker is there to meet.
        least = 0.0 if self.trigger_id is None else _FIRST_CHECK_AFTER
        return max(least, poll_interval / 2, self.not_before - time.time())

    async def _event(self) -> dict[str, Any]:
        if self.not_before > self.deadline:
            await asyncio.sleep(max(0.0, self.deadline - time.time()))
            raise CijTimeoutError("The service asked not to be called again in the time given.")
        await load_session()
        from airflow_provider_cij.api.wait import wait_until
        from airflow_provider_cij.triggers._session import shared_session

        async with shared_session(self.cij_conn_id, self.poll_interval) as cij:
            poll_interval = min(self.poll_interval, cij.dataverse.settings.max_poll_seconds)
            found = await wait_until(
                self.wait(),
                cij,
                poll_interval=poll_interval,
                deadline=self.deadline,
                first_after=self._first_after(poll_interval),
                together=True,
            )
        return {
            "status": found.status or self.until,
            self.event_key: found.result,
            "name": found.name,
            "message": found.message,
            "evaluated_at": found.evaluated_at,
            "execution_id": found.execution_id,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check until the wait is over; every end is an event."""
        try:
            payload = await self._event()
        except CijError as error:
            payload = _failure(error)
        except Exception as error:
            # Raised, it would reach the task as a bare "Trigger failure".
            payload = _failure(CijError(f"The trigger failed: {type(error).__name__}: {words_of(str(error), bool)}"))
        yield event_of({**payload, "deadline": self.deadline, "state": dict(self.state or {})})


def check_of_event(event: Mapping[str, Any] | None) -> Check:
    """Return the check that a trigger's event holds, for the worker.

    :param event: what the trigger sent
    :raises CijError: the trigger reports a failure; or there is no event, or an unknown one: never a success
    """
    from airflow_provider_cij.api.wait import Check

    found = next((event[key] for key in _RESULTS if isinstance(event.get(key), dict)), None) if event else None
    if event and event.get("status") in _OVER and found is not None:
        result, name = dict(found), str(event.get("name") or "")
        status = event["status"] if event["status"] == "publish_again" else ""
        message = str(event.get("message") or f"{name!r} is {event['status']}")
        evaluated_at, execution_id = (str(event.get(name) or "") for name in ("evaluated_at", "execution_id"))
        return Check(True, name, message, result, status, evaluated_at, execution_id)
    if event and isinstance(event.get("error"), dict):
        raise CijError.from_dict(event["error"])
    raise CijError(f"The trigger came back with {event!r}, which says neither success nor failure.")


def event_of(payload: Mapping[str, Any]) -> TriggerEvent:
    """Return an event that Airflow can store: one that it can't would end the triggerer.

    :param payload: what it holds
    """
    return TriggerEvent(storable(payload))  # type: ignore[no-untyped-call]


def _failure(error: CijError) -> dict[str, Any]:
    failed = "failed" if isinstance(error, CijOperationFailedError) else "error"
    status = "timeout" if isinstance(error, CijTimeoutError) else failed
    return {"status": status, "error": error.as_dict()}
