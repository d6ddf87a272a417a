"""Names that a module offers and loads when they are used: most DAG files name few, and parsing must cost nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(module: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a module, which Python calls (PEP 562).

    :param module: the module's ``__name__``
    :param places: each name, with the module that defines it, relative to the module's package: ``._publishing``
    """

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(places[name], sys.modules[module].__package__), name)

    return load, lambda: sorted(places)
