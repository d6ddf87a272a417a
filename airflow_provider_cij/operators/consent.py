"""Bring consent over from another system, and take over what changed in the organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.api.consent.consent_to import ConsentTo
    from airflow_provider_cij.operators._consent import CijImportConsentOperator
    from airflow_provider_cij.operators._consent_export import CijExportConsentOperator

__all__ = [
    "CijExportConsentOperator",
    "CijImportConsentOperator",
    "ConsentTo",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CijExportConsentOperator": "._consent_export",
        "CijImportConsentOperator": "._consent",
        "ConsentTo": "..api.consent.consent_to",
    },
)
