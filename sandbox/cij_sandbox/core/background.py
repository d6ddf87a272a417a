"""Work in the background: subjects add steps, and one thread carries out those that are due."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
import traceback
from typing import Protocol

from cij_sandbox.core.store import Store

# How often to look whether a request has brought forward what is due.
_LOOK_SECONDS = 1.0


class Step(Protocol):
    """One kind of background work."""

    def wait(self, connection: sqlite3.Connection, now: float) -> float:
        """Return the real seconds until there is something to carry out."""

    def carry_out(self, connection: sqlite3.Connection, now: float) -> None:
        """Do what is due, in a transaction."""


class Background:
    """The steps and their thread. ``compute_seconds`` is the real time from a request to its result; it may change."""

    def __init__(self, store: Store, compute_seconds: float) -> None:
        self.steps: list[Step] = []
        self.compute_seconds = compute_seconds
        self.stopping = False
        self._store = store
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)

    def start(self) -> None:
        """Start the thread, which first does the work that a stopped sandbox left behind."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread. Work that is on file continues after the next start."""
        with self._wake:
            self.stopping = True
            self._wake.notify_all()
        self._thread.join(5)
        with self._store.transaction():
            pass  # the time is kept with every transaction

    def soon(self) -> float:
        """Return the real time at which a segment that is published or stopped now has been exported or stopped."""
        return time.time() + self.compute_seconds / 3

    def done(self) -> float:
        """Return the real time at which a segment or journey that is published now has its result."""
        return time.time() + self.compute_seconds

    def notify(self) -> None:
        """Wake the thread, because a request has written down work."""
        with self._wake:
            self._wake.notify_all()

    def catch_up(self) -> None:
        """Carry out what a jump of the clock made due, except runs in flight, which end on their own."""
        with self._store.transaction() as connection:
            for step in self.steps:
                step.carry_out(connection, time.time())
        self.notify()

    def _run(self) -> None:
        while not self.stopping:
            try:
                pause = self._carry_out()
            except Exception:  # the thread must outlive any failure of a step
                traceback.print_exc(file=sys.stderr)
                pause = 1.0
            with self._wake:
                if not self.stopping and pause > 0:
                    self._wake.wait(pause)

    def _carry_out(self) -> float:
        """Carry out the first step that is due; return the real seconds until there is more to do."""
        now, connection = time.time(), self._store.reader()
        pause = _LOOK_SECONDS
        for step in self.steps:
            if (wait := step.wait(connection, now)) <= 0:
                with self._store.transaction() as writer:
                    step.carry_out(writer, now)
                return 0.0
            pause = min(pause, wait)
        return pause
