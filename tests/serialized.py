"""Airflow's serialization of XComs and of what triggers keep."""

try:
    from airflow.sdk.serde import deserialize, serialize
except ImportError:  # Airflow 3.1
    from airflow.serialization.serde import deserialize, serialize

__all__ = ["deserialize", "serialize"]
