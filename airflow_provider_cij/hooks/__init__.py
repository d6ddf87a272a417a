"""Hooks: an Airflow connection becomes an open client."""
