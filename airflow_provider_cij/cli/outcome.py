"""What the service answers to a request of the probe, in words that a report may hold.

An observation is ``204``, ``200 ResultText, StatusCode`` (the names of the outputs), ``400 0x80040265``, or a word that
a probe returns. It never contains data of the organisation.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from airflow_provider_cij.errors import CijError, CijUnavailableError

# "Principal user is missing a privilege", and similar: they depend on roles, not on the service.
_NO_PRIVILEGE = ("0x80040220", "0x80042f09", "0x80072560", "0x80040225")
_NAME = re.compile(r"[A-Za-z_]\w{0,79}")


class NotTriedError(Exception):
    """An assumption can't be tested; the message is the reason."""


class RefusedError(Exception):
    """The service refuses what a probe tries; the message, status and code, is what the probe observes."""


@dataclass(frozen=True)
class Outcome:
    """The result of a request.

    :param status: the HTTP status
    :param code: the error code, in lower case; default ``""``
    :param body: the parsed body; default None, the body is no JSON
    :param text: the body as text; default ``""``
    :param made: the id in ``OData-EntityId``; default ``""``
    :param missing: True when the service has no such table or action; default False
    :param message: the service's error message, which is not reported; default ``""``
    """

    status: int
    code: str = ""
    body: Any = None
    text: str = ""
    made: str = ""
    missing: bool = False
    message: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the request succeeded."""
        return self.status < 300

    @property
    def word(self) -> str:
        """Return the status, followed by the names of the outputs or by the error code."""
        if not self.ok:
            return f"{self.status} {self.code}".strip()
        return f"{self.status} {names_of(self.body)}".strip()

    @property
    def nested_word(self) -> str:
        """Return the status, followed by the shape of the JSON in each output."""
        if not self.ok or not isinstance(self.body, dict):
            return self.word
        shapes = [f"{name} {_shape(self.output(name))}" for name in _names(self.body)]
        return f"{self.status} {', '.join(shapes)}".strip()

    def checked(self) -> Outcome:
        """Return the outcome of a request that succeeded.

        :raises RefusedError: the service refuses it: that is the observation
        """
        if not self.ok:
            raise RefusedError(self.word)
        return self

    def needed(self, lacking: str) -> Outcome:
        """Return the outcome of a request that a probe needs.

        :param lacking: what is not possible without it, such as ``a contact can't be made``
        :raises NotTriedError: the service refuses it
        """
        if not self.ok:
            raise NotTriedError(f"{lacking} ({self.word})")
        return self

    def output(self, name: str) -> Any:
        """Return an output: parsed when it is JSON in a string, None when it is missing.

        :param name: the output's name
        """
        value = self.body.get(name) if isinstance(self.body, dict) else None
        try:
            return json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            return value


def accepted(outcome: Outcome, word: str = "accepted") -> str:
    """Return a word for a success, the status and code of a refusal.

    :param outcome: the result of a request
    :param word: the word for a success; default ``accepted``
    """
    return word if outcome.ok else outcome.word


def members_in(outcome: Outcome, output: str, name: str) -> list[str]:
    """Return the ids in an output of an action.

    :param outcome: the result of the request
    :param output: the name of the output, which is JSON
    :param name: the name of the list in it
    :raises NotTriedError: there is no such list
    """
    found = outcome.output(output)
    ids = found.get(name) if isinstance(found, dict) else None
    if not outcome.ok or not isinstance(ids, list):
        raise NotTriedError(f"the members can't be read ({outcome.nested_word})")
    return [text.strip().lower() for each in ids for text in str(each).split(",")]


def names_of(value: Any) -> str:
    """Return the names in a JSON object, sorted. Annotations and malformed names are left out.

    :param value: the object; anything else has no names
    """
    return ", ".join(_names(value))


def _names(value: Any) -> list[str]:
    return sorted(name for name in value if _NAME.fullmatch(name)) if isinstance(value, dict) else []


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{names_of(value)}}}"
    return "[entities]" if isinstance(value, list) else "text"


def outcome_of(error: CijError) -> Outcome:
    """Return the outcome that an error of the client stands for.

    :param error: the error
    :raises NotTriedError: there was no response, or it depends on roles or load
    """
    status, code = error.http_status, error.code.lower()
    missing = isinstance(error, CijUnavailableError)
    if status is None:
        raise NotTriedError(f"there was no response ({type(error).__name__})")
    if status == 401 or code in _NO_PRIVILEGE:
        raise NotTriedError(f"the application user lacks a privilege ({status} {code})")
    if status in (408, 502, 503, 504) or (status == 501 and not missing):
        raise NotTriedError(f"the service is unavailable at present ({status})")
    if not re.fullmatch(r"0x[0-9a-f]{8}", code):
        code = ""
    return Outcome(status, code, missing=missing, message=error.message)
