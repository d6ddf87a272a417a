"""Everything that can go wrong, as one tree.

``CijError`` is deliberately no ``AirflowException``: with one, ``soft_fail`` would skip a task on a real failure, and
in deferrable mode only.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_cij._lines import one_line

__all__ = [
    "CijAuthError",
    "CijConflictError",
    "CijError",
    "CijForbiddenError",
    "CijInUseError",
    "CijIncompleteError",
    "CijInputError",
    "CijJourneyFailedError",
    "CijJourneyInvalidError",
    "CijMemberCountError",
    "CijMovedError",
    "CijNotFoundError",
    "CijOutboundFailedError",
    "CijOutboundRemovedError",
    "CijRefusedError",
    "CijReplyError",
    "CijSegmentFailedError",
    "CijServerError",
    "CijStoppedError",
    "CijThrottledError",
    "CijTimeoutError",
    "CijUnavailableError",
    "CijUnreachableError",
]


class CijError(Exception):
    """The root: what happened, to what, and what to do next.

    :param message: what happened, in the service's words where it gave any
    :param code: the service's error code, such as ``0x80040217``
    :param http_status: the HTTP status of the reply, None when there was none
    :param request_id: what Microsoft's support asks for
    :param hint: what to do next
    :param retry_after: seconds the service asked to wait
    """

    permanent: ClassVar[bool] = False
    """True when no retry can mend it."""

    may_have_executed: bool = False
    """True when the service may have carried out the request although it ended in this error."""

    inside: bool = False
    """True when the reply's HTTP status was a success and its body said no."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        http_status: int | None = None,
        request_id: str = "",
        hint: str = "",
        retry_after: float | None = None,
    ) -> None:
        # A name or a library's words within may hold a line end, or what steers a log viewer.
        self.message = one_line(message)
        super().__init__(self.message)
        self.code = code
        self.http_status = http_status
        self.request_id = request_id
        self.hint = hint
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = [
            f"code {self.code}" if self.code else "",
            f"HTTP {self.http_status}" if self.http_status else "",
            f"request {self.request_id}" if self.request_id else "",
        ]
        known = ", ".join(fact for fact in facts if fact)
        text = f"{self.message} [{known}]" if known else self.message
        return f"{text} {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON of it, for a trigger's event."""
        return {"type": type(self).__name__, "message": self.message} | {
            name: getattr(self, name) for name in ("code", "http_status", "request_id", "hint", "retry_after")
        }

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> CijError:
        """Make the same error again out of ``as_dict``; an unknown type becomes a plain ``CijError``."""
        known = {kind.__name__: kind for kind in _tree(CijError)}
        kind = known.get(plain.get("type", ""), CijError)
        names = ("code", "http_status", "request_id", "hint", "retry_after")
        return kind(plain.get("message", "no message"), **{name: plain[name] for name in names if name in plain})


def _tree(kind: type[CijError]) -> list[type[CijError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


class CijInputError(CijError):
    """What the caller gave can't be sent. Nothing was."""

    permanent = True


class CijAuthError(CijError):
    """The login service, or the organisation, does not accept this credential."""

    permanent = True


class CijRefusedError(CijError):
    """The service said no to this request (4xx); the same request will be refused again."""

    permanent = True


class CijForbiddenError(CijRefusedError):
    """The application user may not do this (403)."""


class CijNotFoundError(CijRefusedError):
    """There is no such row (404)."""


class CijUnavailableError(CijRefusedError):
    """The organisation has no such table or action: CIJ is not installed there, or its version is too old."""


class CijOutboundRemovedError(CijUnavailableError):
    """The organisation has no outbound marketing any more, or this application user may not see it."""


class CijConflictError(CijRefusedError):
    """The row exists already, or somebody has changed it meanwhile (412)."""


class CijInUseError(CijRefusedError):
    """Journeys or other segments need it: what they are is in the message."""


class CijThrottledError(CijError):
    """The service protects itself (429). Nothing was done; ``retry_after`` says in how many seconds to come again.

    Shorter waits are slept in the client. This is raised when the wait is longer than the connection's
    ``max_hold_seconds``, also for a request that was not even sent because another one of this process had been told
    so; or when the service throttles again and again.
    """


class CijServerError(CijError):
    """The service failed (5xx). Whether it had done its work by then is unknown."""


class CijUnreachableError(CijError):
    """No reply came: no connection, or it broke."""


class CijStoppedError(CijError):
    """The task was told to end, and did: what had not been sent by then was not sent."""


class CijReplyError(CijError):
    """A reply came that can't be read, or that must not be followed."""

    raw: str = ""
    """The body as it came, for who can make more of it. Never part of the message: it may hold people's data."""


class CijIncompleteError(CijReplyError):
    """The service cut a list short. Better no list than a part of one."""


class CijMovedError(CijIncompleteError):
    """A list changed while it was read, or lags: read again, it may be whole."""


class CijSegmentFailedError(CijError):
    """The service could not compute the segment, or it was deleted."""

    permanent = True


class CijMemberCountError(CijError):
    """A segment has more members than ``max_members``, or changed by more than ``max_change``."""

    permanent = True


class CijJourneyInvalidError(CijError):
    """The service finds mistakes in the journey: which is in the message."""

    permanent = True


class CijJourneyFailedError(CijError):
    """The journey can't become what is waited for any more."""

    permanent = True


class CijOutboundFailedError(CijError):
    """An outbound segment or journey, or a change of members, ended in error, or can't come to what is waited for."""

    permanent = True


class CijTimeoutError(CijError):
    """What was waited for did not come in the time given."""
