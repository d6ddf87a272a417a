"""Waiting for outbound marketing without a worker."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from airflow_provider_cij.triggers._waiting import WaitTrigger


class CijOutboundTrigger(WaitTrigger):
    """Looks at an outbound segment, its changes of members, or a journey until it is as it should be. It only looks.

    All triggers of a connection in one process share a client and a token.

    Its event is ``{"status": "live", "outbound": {…}, "name": …}``, with ``until`` in place of ``live``; or
    ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    :param cij_conn_id: the Airflow connection
    :param what: ``segment``, ``journey`` or ``operations``
    :param row_id: the segment or journey
    :param until: ``live``, ``stopped`` or ``finished``
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at; absolute, so that it outlives a restart
    :param not_before: epoch seconds: the service has told us to stay away until then
    :param early: True when what is waited for began before we asked; the event hands it back, with the deadline
    """

    arguments = ("cij_conn_id", "what", "row_id", "until", "poll_interval", "deadline", "not_before", "early")

    # Rows of this class lie in Airflow's database across upgrades: it never moves, it never raises here, and every
    # argument has a default.
    def __init__(
        self,
        cij_conn_id: str = "cij_default",
        what: str = "segment",
        row_id: str = "",
        until: str = "live",
        poll_interval: float = 60.0,
        deadline: float = 0.0,
        not_before: float = 0.0,
        early: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cij_conn_id = cij_conn_id
        self.what = what
        self.row_id = row_id
        self.until = until
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.not_before = not_before
        self.early = early

    def _handed_back(self) -> dict[str, Any]:
        return {"early": True, "deadline": self.deadline} if self.early else {}

    async def _wait(self) -> dict[str, Any]:
        # What the hook needs takes 0.2 s to load the first time: too long for a loop that others share.
        await asyncio.to_thread(importlib.import_module, "airflow_provider_cij.triggers._session")
        from airflow_provider_cij.api.outbound.wait import wait
        from airflow_provider_cij.triggers._session import shared_session

        async with shared_session(self.cij_conn_id) as (cij, _):
            seen = await wait(
                cij.outbound,
                self.what,
                self.row_id,
                self.until,
                poll_interval=self.poll_interval,
                deadline=self.deadline,
                first_after=self._first_after(),
            )
        return {"outbound": seen.result, "name": seen.name}
