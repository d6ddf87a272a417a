"""The context variable by which the wire reports a request to the check of a wait that sends it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Sender(Protocol):
    """Is told of the requests that are sent in its context."""

    def on_request(self) -> None:
        """Note that a request is sent."""


sender: ContextVar[Sender | None] = ContextVar("sender", default=None)
"""What is told of the requests of a context; None, the default, nothing is."""
