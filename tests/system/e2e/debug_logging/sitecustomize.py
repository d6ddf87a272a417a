"""Set the libraries below the provider to DEBUG in every process whose PYTHONPATH contains this folder."""

from __future__ import annotations

import logging

for name in ("httpx", "msal", "urllib3", "asyncio"):
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    # Airflow sets some of them to WARNING, which a deployment may undo.
    logger.setLevel = lambda level: None  # type: ignore[method-assign]
