"""Have the libraries below us log all they can, in every process whose PYTHONPATH leads here."""

from __future__ import annotations

import logging

for name in ("httpx", "httpcore", "msal", "urllib3", "asyncio"):
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    # Airflow sets some of them to WARNING, which a deployment may undo.
    logger.setLevel = lambda level: None  # type: ignore[method-assign]
