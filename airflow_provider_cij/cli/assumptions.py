"""The list of what the sandbox assumes, because no document says it (``assumptions.toml``)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

READ, WRITE, NO = "read", "write", "no"
"""How an assumption is found out: without writing, by rows of the probe's own, or not."""


@dataclass(frozen=True)
class Assumption:
    """One assumption.

    :param id: its stable name, such as ``segments.add-twice``
    :param says: the assumption, in words
    :param probe: ``read``, ``write`` or ``no``
    :param default: what the sandbox does, as the probe observes it; by default nothing that is observed
    :param alternatives: what else the sandbox can do; by default nothing
    :param pattern: what else it can do, as a regular expression; by default nothing
    :param why: why it is not found out; by default it is
    """

    id: str
    says: str
    probe: str
    default: str = ""
    alternatives: tuple[str, ...] = ()
    pattern: str = ""
    why: str = ""

    def can_be_played(self, observed: str) -> bool:
        """Return whether the sandbox can do what was observed.

        :param observed: what a probe returned
        """
        listed = observed in (self.default, *self.alternatives)
        return listed or bool(self.pattern and re.fullmatch(self.pattern, observed))


@cache
def assumptions() -> tuple[Assumption, ...]:
    """Return the list."""
    text = (files("airflow_provider_cij") / "assumptions.toml").read_text(encoding="utf-8")
    return tuple(
        Assumption(**{**entry, "alternatives": tuple(entry.get("alternatives", ()))})
        for entry in tomllib.loads(text)["assumption"]
    )
