"""Bring contacts and leads over from a warehouse: create those that are missing, change those that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.api.records.arguments import Lookup, lookup
    from airflow_provider_cij.operators._upserting import CijUpsertContactsOperator, CijUpsertLeadsOperator

__all__ = [
    "CijUpsertContactsOperator",
    "CijUpsertLeadsOperator",
    "Lookup",
    "lookup",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CijUpsertContactsOperator": "._upserting",
        "CijUpsertLeadsOperator": "._upserting",
        "Lookup": "..api.records.arguments",
        "lookup": "..api.records.arguments",
    },
)
