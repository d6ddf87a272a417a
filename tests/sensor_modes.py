"""The modes in which every sensor runs."""

from __future__ import annotations

import pytest

MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
every_mode = pytest.mark.parametrize("mode", MODES)
