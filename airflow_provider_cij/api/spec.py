"""The former place of ``SegmentSpec``, which DAG files may name."""

from airflow_provider_cij.api.segments.spec import SegmentSpec

__all__ = ["SegmentSpec"]
