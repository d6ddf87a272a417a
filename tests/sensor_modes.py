"""The modes in which every sensor runs."""

from __future__ import annotations

import pytest
from airflow import __version__
from packaging.version import Version

_TEXT = "dag.test() of this Airflow passes the first start of a rescheduled sensor on as text"
_OLD = pytest.mark.skipif(Version(__version__) < Version("3.1.8"), reason=_TEXT)
MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
every_mode = pytest.mark.parametrize("mode", ["poke", pytest.param("reschedule", marks=_OLD), "deferrable"])
