"""The former module of ``CijRetryPolicy``, which DAG files and serialized DAGs still name."""

from airflow_provider_cij.retry_policy import CijRetryPolicy

__all__ = ["CijRetryPolicy"]
