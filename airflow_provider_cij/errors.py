"""The exceptions of this package. Each says what happened, to what, and what to do next.

.. code-block:: text

    CijError
    ├── CijInputError *                    an argument, a file, a row or the connection can't be used; nothing was sent
    ├── CijAuthError *                     the login service or the organisation rejects the credential
    ├── CijRefusedError *                  the service refuses the request (4xx)
    │   ├── CijForbiddenError *            the application user lacks a privilege (403)
    │   ├── CijNotFoundError *             there is no such row (404)
    │   ├── CijConflictError *             the row exists, or was changed meanwhile (412)
    │   ├── CijInUseError *                other segments or journeys use it
    │   └── CijUnavailableError *          the organisation has no such table or action
    │       └── CijOutboundRemovedError *  the organisation has no outbound marketing
    ├── CijThrottledError                  the service limits requests (429)
    ├── CijServerError                     the service failed (5xx)
    ├── CijUnreachableError                there was no response
    ├── CijStoppedError                    the task was stopped before everything was sent
    ├── CijTimeoutError                    the wait took longer than its timeout
    ├── CijReplyError                      a response can't be read, or must not be followed
    │   └── CijIncompleteError             a list was cut short
    │       └── CijMovedError              a list changed while it was read
    ├── CijInvalidError *                  the service's validation finds mistakes
    │   ├── CijJourneyInvalidError *       in a real-time journey
    │   └── CijOutboundInvalidError *      in an outbound segment or journey
    ├── CijOperationFailedError *          accepted by the service, and failed afterwards
    │   ├── CijSegmentFailedError *        a real-time segment
    │   ├── CijJourneyFailedError *        a real-time journey
    │   └── CijOutboundFailedError *       an outbound segment or journey, or a change of members
    └── CijMemberCountError *              a segment's size is outside the bounds of the task

An error marked ``*`` is permanent: a retry can't succeed, so operators raise it as ``AirflowFailException``.

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
    "CijInvalidError",
    "CijJourneyFailedError",
    "CijJourneyInvalidError",
    "CijMemberCountError",
    "CijMovedError",
    "CijNotFoundError",
    "CijOperationFailedError",
    "CijOutboundFailedError",
    "CijOutboundInvalidError",
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

_FIELDS = ("code", "http_status", "request_id", "hint", "retry_after")


class CijError(Exception):
    """The root of all errors of this package. Raised itself when no other class fits.

    What to do: read the message, and the hint after it. In your own code, catch this class.

    :param message: what happened, in the service's words where it gave any; control characters are removed
    :param code: the service's error code, such as ``0x80040217``; by default ``""``
    :param http_status: the response's HTTP status; None, the default, when there was no response
    :param request_id: the service's id of the request, for Microsoft's support; by default ``""``
    :param hint: what to do next; by default ``""``
    :param retry_after: seconds that the service asked to wait; by default None
    """

    permanent: ClassVar[bool] = False
    """True when a retry can't succeed."""

    may_have_executed: bool = False
    """True when the service may have carried out the request although it ended in this error."""

    inside: bool = False
    """True when the response's HTTP status was a success and its body held the error."""

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
        """Return the error as plain JSON, for a trigger's event.

        :return: ``{"type", "message", "code", "http_status", "request_id", "hint", "retry_after",
            "may_have_executed"}``
        """
        names = (*_FIELDS, "may_have_executed")
        return {"type": type(self).__name__, "message": self.message} | {name: getattr(self, name) for name in names}

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> CijError:
        """Restore an error from what ``as_dict`` returned.

        :param plain: the error as plain JSON
        :return: an error of the same class; a ``CijError`` when the class is unknown
        """
        known = {kind.__name__: kind for kind in _with_subclasses(CijError)}
        kind = known.get(plain.get("type", ""), CijError)
        error = kind(plain.get("message", "no message"), **{name: plain[name] for name in _FIELDS if name in plain})
        error.may_have_executed = bool(plain.get("may_have_executed"))
        return error


def _with_subclasses(kind: type[CijError]) -> list[type[CijError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _with_subclasses(child))]


class CijInputError(CijError):
    """An argument, a file, a row or the connection can't be used. Nothing was sent.

    In a DAG file it is raised while the file is parsed, and shown as an import error.

    What to do: correct what the message names. Rows of a list that can't be used are listed in ``rejects_path``.
    A connection that lacks a field is described on the page "Connection".
    """

    permanent = True


class CijAuthError(CijError):
    """The login service or the organisation rejects the credential.

    What to do: read the code. ``AADSTS7000215``: the client secret is wrong, paste its value and not its id.
    ``AADSTS7000222``: the client secret has expired, make a new one. ``AADSTS700016``: the tenant has no such
    application. ``AADSTS700027``: the certificate is not registered with the application. HTTP 401: the
    organisation does not accept the token, check host, tenant and client id. The Test button of the connection shows
    the same error. A process asks again with a rejected credential after 60 seconds at the earliest.
    """

    permanent = True


class CijRefusedError(CijError):
    """The service refuses the request (4xx). The same request would be refused again.

    What to do: read the service's message, which says what is wrong with the request, such as a query that has a
    mistake. Change the argument that the message is about, then clear the task.
    """

    permanent = True


class CijForbiddenError(CijRefusedError):
    """The application user lacks the privilege for the request (403).

    What to do: the hint says whether the application user is missing in the environment, is disabled, or has no
    security role; otherwise the message names the privilege and the table. Have an administrator fix that, then clear
    the task.
    """


class CijNotFoundError(CijRefusedError):
    """There is no such row (404).

    What to do: check the id or the name, and the organisation that the connection leads to. A row may have been
    deleted, or may be in another environment.
    """


class CijUnavailableError(CijRefusedError):
    """The organisation has no such table or action: CIJ is not installed there, or its version is too old.

    What to do: check that the connection leads to an environment with Customer Insights - Journeys, and update the
    app in the Power Platform admin center. The message names the table or the action.
    """


class CijOutboundRemovedError(CijUnavailableError):
    """The organisation has no outbound marketing any more, or the application user may not see it.

    What to do: use real-time segments and journeys, whose operators have no ``Outbound`` in their names. If the
    organisation still has outbound marketing, give the application user a role that reads its tables.
    """


class CijConflictError(CijRefusedError):
    """The row exists already, or another writer changed it meanwhile (412).

    What to do: with ``if_exists="fail"``, choose another ``key`` or let the task update. A duplicate detection rule of
    the organisation names a row like it: change the row or the rule. Otherwise find the other writer, look at the
    record in Dynamics 365, and clear the task.
    """


class CijInUseError(CijRefusedError):
    """Journeys or other segments use the record. The message names them.

    What to do: stop or change what the message names, then clear the task.
    """


class CijThrottledError(CijError):
    """The service limits requests (429). Nothing was done; ``retry_after`` is the number of seconds to wait.

    Shorter waits are slept in the client. This is raised when the wait is longer than the connection's
    ``max_throttle_wait_seconds``, also for a request that was held back because another request of this process was
    throttled; or when the service still throttles after all retries.

    What to do: nothing, if it is rare: operators are deferred until the service accepts requests again, and Airflow's
    retries do the rest. If it is frequent, run fewer tasks at once, with an Airflow pool.
    """


class CijServerError(CijError):
    """The service failed (5xx). Whether it had carried out the request by then is unknown.

    What to do: let Airflow retry; operators are idempotent. If it stays, give the request id to Microsoft's
    support.
    """


class CijUnreachableError(CijError):
    """There was no response: no connection, or it broke.

    What to do: let Airflow retry. If it stays, check the host, the proxy and the firewall of the worker, and
    ``ca_bundle`` when a proxy has a certificate of its own.
    """


class CijStoppedError(CijError):
    """The task was stopped. What had not been sent by then was not sent.

    What to do: clear the task to do the rest.
    """


class CijReplyError(CijError):
    """A response can't be read, or is a redirect or a link that must not be followed.

    What to do: check that the host is the organisation's address and that no proxy or login page answers in its
    place. The message says what was received instead. If the request changed something, it may have taken effect:
    look at the record first.
    """

    raw: str = ""
    """The body as received, for further reading. Never part of the message: it may hold personal data."""


class CijIncompleteError(CijReplyError):
    """The service cut a list short. No part of it is returned.

    What to do: let Airflow retry. An older file at the path of an export is unchanged. ``max_missing`` allows a
    number of people to be missing from an export.
    """


class CijMovedError(CijIncompleteError):
    """A list changed while it was read, or lags behind its count. Read again, it may be complete.

    What to do: let Airflow retry. If it stays, another writer changes the group, or the segment is evaluated often:
    schedule the task at another time.
    """


class CijInvalidError(CijError):
    """The service's validation finds mistakes. The message names them.

    What to do: correct them. All findings are in the task's XCom, with code, message and place.
    """

    permanent = True


class CijJourneyInvalidError(CijInvalidError):
    """The service's validation finds mistakes in a real-time journey.

    What to do: open the journey in Dynamics 365 by the task's link, and correct what the message names. All findings
    are in the task's XCom.
    """


class CijOutboundInvalidError(CijInvalidError):
    """The service's validation finds mistakes in an outbound segment or journey.

    What to do: open the record in Dynamics 365 by the task's link, and correct what the message names. All findings
    are in the task's XCom.
    """


class CijOperationFailedError(CijError):
    """The service accepted the request, and the operation failed afterwards or can't reach the awaited status.

    What to do: open the record in Dynamics 365 by the task's link, fix what the message names, and clear the
    task.
    """

    permanent = True


class CijSegmentFailedError(CijOperationFailedError):
    """The evaluation of a real-time segment failed, or the segment was deleted.

    What to do: read the service's message, correct the query or the segment, and clear the task. A deleted segment is
    created again by ``CijCreateSegmentOperator``.
    """


class CijJourneyFailedError(CijOperationFailedError):
    """A real-time journey can't reach the awaited status any more.

    What to do: a stopped journey can't go live again. Create a new one, or wait for another status with ``until``.
    """


class CijOutboundFailedError(CijOperationFailedError):
    """An outbound segment or journey, or a change of members, failed or can't reach the awaited status any more.

    What to do: open the record in Dynamics 365 by the task's link, fix what the message names, and clear the
    task.
    """


class CijMemberCountError(CijError):
    """A segment has more members than ``max_members``, or their number changed by more than ``max_change``.

    What to do: look at the query and at what filled the groups. If the count is right, raise the bound and clear the
    task.
    """

    permanent = True


class CijTimeoutError(CijError):
    """The wait took longer than its timeout.

    What to do: look at the record in Dynamics 365: a new segment may take the service hours. Raise ``timeout``, or
    clear the task to wait again. Sensors raise Airflow's ``AirflowSensorTimeout`` in its place.
    """
