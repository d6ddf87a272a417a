"""What tests of the wire share."""

from __future__ import annotations

import pytest


@pytest.fixture
def without_proxy(monkeypatch):
    """Start without proxy variables."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
