"""How far a long job has got, kept where a retry of the task finds it."""

from __future__ import annotations

import time
from typing import Any

from airflow_provider_cij._base import best_effort

_KEY = "cij_cursor"
_SECONDS_BETWEEN = 1.0


class Cursor:
    """A number that outlives the worker, in Airflow's task state store (3.3 and newer; before, a retry starts over).

    It is deleted when the task succeeds: the store outlives a Clear, and a cleared task really runs again.

    :param context: of the task's run
    :param log: the task's
    """

    def __init__(self, context: Any, log: Any) -> None:
        self.context = context
        self._store = context.get("task_state_store")
        self._log = log
        self._job = ""
        self._there = False
        self._written = 0.0

    def resume(self, job: str) -> int:
        """Give how far an earlier try got with the very same job; 0 for another one.

        :param job: tells it from every other, the content of its list included
        """
        self._job = job
        try:
            kept = self._store.get(_KEY) if self._store else None
        except Exception as error:  # whatever the store says, starting over is safe
            self._log.warning("How far an earlier try got can't be read, starting over: %s", error)
            return 0
        self._there = kept is not None
        if not isinstance(kept, dict) or kept.get("job") != job:
            return 0
        self._log.info("An earlier try of this very job has done %d calls: going on from there", kept["done"])
        return int(kept["done"])

    def note(self, done: int) -> None:
        """Write down how far the job has got, at most once a second."""
        if self._store and time.monotonic() - self._written >= _SECONDS_BETWEEN:
            self._written = time.monotonic()
            try:
                self._store.set(_KEY, {"job": self._job, "done": done})
                self._there = True
            except Exception as error:  # it costs a retry some time, not the task its work
                self._log.warning("How far this try has got can't be kept: %s", error)

    def forget(self) -> None:
        """Delete it: the job is done."""
        if self._there:
            with best_effort(self._log, "The note of how far it has got"):
                self._store.delete(_KEY)
