"""Functions that find out assumptions, by id. Each returns what it observed, or raises ``RefusedError`` or ``NotTriedError``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from airflow_provider_cij.cli.probes import journeys, members, outbound, platform, segments
from airflow_provider_cij.cli.probing import Organisation

PROBES: Mapping[str, Callable[[Organisation], Awaitable[str]]] = {
    **members.PROBES,
    **segments.PROBES,
    **journeys.PROBES,
    **platform.PROBES,
    **outbound.PROBES,
}
"""One function for each assumption that can be found out."""
