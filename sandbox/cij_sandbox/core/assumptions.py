"""What the sandbox assumes where no document says it, and what it does instead when it is told to.

The list is ``assumptions.toml``, which the provider's ``airflow cij probe`` has as well: its report tells what a real
organisation does.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from cij_sandbox.core import errors

_REFUSAL = re.compile(r"([45]\d\d)(?: (0x[0-9a-f]{8}))?")


class Assumptions:
    """The assumptions of the sandbox's organisation, and those that were chosen instead."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = {str(entry["id"]): entry for entry in entries}
        self.changed: list[Callable[[], None]] = []
        """Called after a choice, by what was built on another one."""
        self._chosen: dict[str, str] = {}
        self._unplayable: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Return what is assumed, or raise the error for what a report observed and the sandbox can't play."""
        if name in self._unplayable:
            raise errors.not_implemented(f"what was observed of '{name}': {self._unplayable[name]}")
        return self._chosen.get(name) or str(self.entries[name]["default"])

    def can_play(self, name: str) -> bool:
        """Return whether the sandbox does not lack what a report observed."""
        return name not in self._unplayable

    def is_there(self, name: str) -> bool:
        """Return whether what may be missing in an organisation is there: True for what can't be played."""
        return not self.can_play(name) or self(name) != "missing"

    def choose(self, choices: object) -> None:
        """Choose by id, or raise ValueError for what is not in the list. None stands for the default."""
        if not isinstance(choices, dict):
            raise ValueError('A choice is a JSON object of assumptions: {"segments.add-twice": "nothing"}')
        for name, value in choices.items():
            if value is not None and not self._has(name, value):
                known = ", ".join(map(repr, self._alternatives(name))) or "none"
                raise ValueError(f"{str(value)[:100]!r} is no alternative of {str(name)[:100]!r}; known are: {known}")
        for name, value in choices.items():
            self._unplayable.pop(name, None)
            self._chosen.pop(name, None)
            if value is not None:
                self._chosen[name] = value
        for notify in self.changed:
            notify()

    def play(self, report: object) -> list[str]:
        """Choose what a report of ``airflow cij probe`` observed; return the differences that can't be played.

        Requests that depend on one of these are refused. Raise ValueError for what is no report.
        """
        found = report.get("assumptions") if isinstance(report, dict) else None
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ValueError("it is no report of 'airflow cij probe'")
        differs = {str(entry.get("id")): entry.get("observed") for entry in found if entry.get("result") == "differs"}
        self.choose({name: value for name, value in differs.items() if self._has(name, value)})
        lacking = {name: str(value)[:200] for name, value in differs.items() if not self._has(name, value)}
        self._unplayable |= {name: value for name, value in lacking.items() if name in self.entries}
        return [f"{name}: {value}" for name, value in lacking.items()]

    def shown(self) -> list[dict[str, object]]:
        """Return all assumptions that have an alternative, with what is chosen."""
        return [
            {"id": name, "says": entry["says"], "value": self._chosen.get(name, entry["default"])}
            | {"alternatives": self._alternatives(name), "can_play": self.can_play(name)}
            for name, entry in self.entries.items()
            if "default" in entry
        ]

    def _alternatives(self, name: object) -> list[str]:
        entry = self.entries.get(str(name), {})
        pattern = [f"/{entry['pattern']}/"] if "pattern" in entry else []
        return [entry["default"], *entry.get("alternatives", ()), *pattern] if "default" in entry else []

    def _has(self, name: object, value: object) -> bool:
        entry = self.entries.get(str(name), {})
        if not isinstance(value, str) or "default" not in entry:
            return False
        listed = value == entry["default"] or value in entry.get("alternatives", ())
        return listed or ("pattern" in entry and re.fullmatch(entry["pattern"], value) is not None)


ASSUMED = Assumptions(tomllib.loads((files("cij_sandbox") / "assumptions.toml").read_text())["assumption"])
"""The assumptions of this process."""


def assumed(name: str) -> str:
    """Return what is assumed, by its id."""
    return ASSUMED(name)


def check(name: str, reason: str) -> None:
    """Raise the refusal that is assumed, if one is."""
    if _REFUSAL.fullmatch(ASSUMED(name)):
        raise refusal(name, reason)


def refusal(name: str, reason: str) -> errors.ODataError:
    """Return the refusal that is assumed: its status and code. The reason is the sandbox's own."""
    return errors.plug_in(reason, *status_and_code(name))


def status_and_code(name: str) -> tuple[int, str]:
    """Return the status and the code of the refusal that is assumed."""
    found = _REFUSAL.fullmatch(ASSUMED(name))
    if found is None:
        raise ValueError(f"'{name}' is no refusal")
    return int(found[1]), found[2] or ""


def described() -> str:
    """Return the list for people, a line each."""
    return "\n".join(f"- {entry['id']}: {entry['says']}" for entry in ASSUMED.entries.values())
