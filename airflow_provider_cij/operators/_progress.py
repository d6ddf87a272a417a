"""Show how far a task got in its log, and keep it where its next try finds it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_cij._base import best_effort


class EverySecond:
    """Tells when a second has passed since it last did, for a line in the log."""

    def __init__(self) -> None:
        self.started = self._last = time.monotonic()

    def passed(self, *, last: bool = False) -> bool:
        """Return whether a second has passed, and begin the next one.

        :param last: True also returns True for what ends; default False
        """
        now = time.monotonic()
        if now - self._last < 1 and not last:
            return False
        self._last = now
        return True


class ProgressStore:
    """Keeps the progress of a task in Airflow's task state store, where a retry of the task finds it.

    The store came with Airflow 3.3. On older versions a retry starts over, which is safe: the work is idempotent. The
    progress is deleted when the task succeeds: the store outlives a Clear, and a cleared task really runs again.

    :param context: the context of the task's run
    :param log: the task's logger
    :param key: names the progress in the store
    """

    def __init__(self, context: Any, log: Any, key: str) -> None:
        self._store = context.get("task_state_store")
        self._log = log
        self._key = key
        self._job = ""
        self._stored = False

    def load(self, job: str) -> Mapping[str, Any] | None:
        """Return the progress of an earlier try of the same job; None for none.

        :param job: what tells the job from the task's others
        """
        self._job = job
        try:
            kept = self._store.get(self._key) if self._store else None
        except Exception as error:  # whatever the store says, starting over is safe
            self._log.warning("The checkpoint of an earlier try can't be read, starting over: %s", error)
            return None
        self._stored = kept is not None
        return kept if isinstance(kept, dict) and kept.get("job") == job else None

    def save(self, progress: Mapping[str, Any]) -> None:
        """Store the progress of the job that was loaded last.

        :param progress: JSON, of 64 KB at the most
        """
        if not self._store:
            return
        try:
            self._store.set(self._key, {"job": self._job, **progress})
            self._stored = True
        except Exception as error:  # it costs a retry some time, not the task its work
            self._log.warning("The checkpoint can't be stored: %s", error)

    def delete(self) -> None:
        """Delete the progress: the job is done."""
        if self._stored:
            with best_effort(self._log, "The checkpoint"):
                self._store.delete(self._key)
