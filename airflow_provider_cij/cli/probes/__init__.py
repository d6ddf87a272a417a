"""Functions that test assumptions, by id. Each returns what it observed; ``RefusedError`` holds an observation as well.

``NotTriedError`` says why an assumption can't be tested.
"""

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
