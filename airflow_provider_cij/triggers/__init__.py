"""Triggers of the CIJ provider."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_cij.api.wait import Wait
    from airflow_provider_cij.triggers._waiting import WaitTrigger

_TRIGGERS = {
    "SegmentWait": ("segments", "CijSegmentTrigger"),
    "JourneyWait": ("journeys", "CijJourneyTrigger"),
    "OutboundWait": ("outbound", "CijOutboundTrigger"),
}


def trigger_of(wait: Wait, **how: Any) -> WaitTrigger:
    """Return the trigger of a wait, in arguments that Airflow can store.

    :param wait: what is waited for
    :param how: the arguments of ``WaitTrigger``
    """
    module, name = _TRIGGERS[type(wait).__name__]
    trigger: WaitTrigger = getattr(import_module(f"{__name__}.{module}"), name).of(wait, **how)
    return trigger
