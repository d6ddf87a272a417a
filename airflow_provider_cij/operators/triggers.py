"""Raise custom triggers of real-time journeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.operators._raising import CijRaiseTriggerOperator

__all__ = ["CijRaiseTriggerOperator"]

__getattr__, __dir__ = lazy(__name__, {"CijRaiseTriggerOperator": "._raising"})
