"""Tell whoever wants to know that a request is sent on its behalf, and not on that of many."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Sender(Protocol):
    """What wants to know of the requests that are sent in its context."""

    def on_request(self) -> None:
        """Note that a request is sent."""


sender: ContextVar[Sender | None] = ContextVar("sender", default=None)
"""Who sends the requests of a context; None, the default, when nothing wants to know."""
