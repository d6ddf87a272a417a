"""The sandbox's assumptions about undocumented behaviour (``assumptions.toml``)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

READ, WRITE, NO = "read", "write", "no"
"""How an assumption is tested: by reading only, by creating rows, or not at all."""


@dataclass(frozen=True)
class Assumption:
    """One assumption.

    :param id: its stable name, such as ``segments.add-twice``
    :param says: the assumption, as a sentence
    :param probe: ``read``, ``write`` or ``no``
    :param default: what the probe observes on the sandbox; default ``""``, nothing
    :param alternatives: the other behaviours that the sandbox implements; default none
    :param pattern: a regular expression of further behaviours that it implements; default none
    :param why: why it is not tested; default ``""``, it is tested
    """

    id: str
    says: str
    probe: str
    default: str = ""
    alternatives: tuple[str, ...] = ()
    pattern: str = ""
    why: str = ""

    def can_be_played(self, observed: str) -> bool:
        """Return whether the sandbox implements the observed behaviour.

        :param observed: what a probe returned
        """
        listed = observed in (self.default, *self.alternatives)
        return listed or bool(self.pattern and re.fullmatch(self.pattern, observed))


@cache
def assumptions() -> tuple[Assumption, ...]:
    """Return all assumptions of ``assumptions.toml``."""
    text = (files("airflow_provider_cij") / "assumptions.toml").read_text(encoding="utf-8")
    return tuple(
        Assumption(**{**entry, "alternatives": tuple(entry.get("alternatives", ()))})
        for entry in tomllib.loads(text)["assumption"]
    )
