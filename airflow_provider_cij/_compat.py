"""The only place that asks which Airflow this is: 3.1, or 3.2 and newer."""

from __future__ import annotations

try:
    from airflow.sdk import conf
    from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout
except ImportError:  # Airflow 3.1
    from airflow.configuration import conf  # type: ignore[assignment]
    from airflow.exceptions import AirflowFailException, AirflowSensorTimeout  # type: ignore[no-redef]

__all__ = ["AirflowFailException", "AirflowSensorTimeout", "conf"]
