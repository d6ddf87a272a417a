"""The former place of ``MemberGroup``, which DAG files may name."""

from airflow_provider_cij.api.segments.models import MemberGroup

__all__ = ["MemberGroup"]
