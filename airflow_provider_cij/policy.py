"""The former place of ``CijRetryPolicy``: serialized DAGs and DAG files name it."""

from airflow_provider_cij.retry_policy import CijRetryPolicy

__all__ = ["CijRetryPolicy"]
