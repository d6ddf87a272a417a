"""Sources of members: files, databases, the organisation itself, and plain values.

A source streams rows in chunks: ``chunks(client)`` their line numbers, and the values of the column that holds the ids;
``rows(client, columns)`` their line numbers, and a dict a row. ``client`` is the task's open client, for a source that
reads from the organisation itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.sources.base import Source
    from airflow_provider_cij.sources.dataverse import FromDataverse
    from airflow_provider_cij.sources.file import FromFile
    from airflow_provider_cij.sources.sql import FromSql
    from airflow_provider_cij.sources.values import FromValues, as_source, checked

__all__ = ["FromDataverse", "FromFile", "FromSql", "FromValues", "Source", "as_source", "checked"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "FromDataverse": ".dataverse",
        "FromFile": ".file",
        "FromSql": ".sql",
        "FromValues": ".values",
        "Source": ".base",
        "as_source": ".values",
        "checked": ".values",
    },
)
