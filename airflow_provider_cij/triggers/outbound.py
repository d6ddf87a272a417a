"""Waiting for outbound marketing without a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.triggers._waiting import WaitTrigger

if TYPE_CHECKING:
    from airflow_provider_cij.api.outbound.wait import OutboundWait


@dataclass(eq=False)
class CijOutboundTrigger(WaitTrigger):
    """Check an outbound segment, its changes of members, or a journey until it is as it should be.

    Its event is ``{"status": "live", "outbound": {…}, "name": …, "deadline": …, "state": {…}}``, with ``until`` in
    place of ``live``; or ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    The other arguments are those of ``WaitTrigger``.

    :param what: ``segment``, ``journey`` or ``operations``
    :param row_id: the segment or journey
    :param until: ``live``, ``stopped`` or ``finished``
    """

    event_key = "outbound"

    what: str = "segment"
    row_id: str = ""

    @classmethod
    def of(cls, wait: OutboundWait, **how: Any) -> CijOutboundTrigger:
        """Return the trigger of a wait, in arguments that Airflow can store.

        :param wait: what is waited for
        :param how: the arguments of ``WaitTrigger``
        """
        return cls(what=wait.what, row_id=wait.row_id, until=wait.until, **how)

    def wait(self) -> OutboundWait:
        """Return what is waited for."""
        from airflow_provider_cij.api.outbound.wait import OutboundWait

        return OutboundWait(self.what, self.row_id, self.until)  # type: ignore[arg-type]  # from the database
