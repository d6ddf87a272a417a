"""Apache Airflow provider for Microsoft Dynamics 365 Customer Insights - Journeys."""

__version__ = "0.1.0"
