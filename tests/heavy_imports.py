"""Modules that a DAG file must not load."""

from __future__ import annotations

HEAVY = ("h11", "httpx", "msal", "pyarrow", "requests", "starlette", "airflow.triggers", "cij_sandbox")
