"""Where members come from. Every source streams, and knows the line of what it gives.

A source has ``chunks(client)``, which gives some rows at a time as their line numbers and what stands where an id
should. ``client`` is the open client of the task, for a source that reads from the organisation itself.
"""

from __future__ import annotations

from airflow_provider_cij.sources.base import Source
from airflow_provider_cij.sources.dataverse import FromDataverse
from airflow_provider_cij.sources.file import FromFile
from airflow_provider_cij.sources.sql import FromSql
from airflow_provider_cij.sources.values import FromValues, as_source, checked

__all__ = ["FromDataverse", "FromFile", "FromSql", "FromValues", "Source", "as_source", "checked"]
