"""A request to an organisation: what is sent, and what log lines and errors call it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from airflow_provider_cij.dataverse.odata import same_origin
from airflow_provider_cij.dataverse.redact import ids_in, without_person, words_of
from airflow_provider_cij.errors import CijInputError, CijReplyError

# Columns and inputs whose ids are of no person.
_NO_PERSON = re.compile(r"segment|journey|definition|group|template|purpose|topic|requestid", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """A request, the same in each attempt.

    :param method: the HTTP method
    :param path: relative to the Web API's root, or a link that the service gave
    :param name: the request in words, such as ``POST msdynmkt_segments``, for log lines and errors
    :param content: the body; None, the default, for none
    :param headers: headers of this request alone; by default none
    :param ids: ids in it that are of no person, which errors may repeat; by default none
    """

    method: str
    path: str
    name: str
    content: bytes | None = field(default=None, repr=False)  # it may hold people
    headers: Mapping[str, str] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()

    def target(self, base: str, link: str, base_url: str) -> str:
        """Return the address that a link leads to.

        :param base: the address that the link is relative to
        :param link: the request's own path, or that of a redirect
        :param base_url: the organisation's address
        :raises CijReplyError: it is outside the organisation, where the token must not go
        """
        try:
            target = urljoin(base, link)
        except ValueError:  # half a bracket
            target = ""
        if not same_origin(target, base_url):
            raise CijReplyError(
                f"{self.name} was answered with a link to another host. It was not followed, as the token must not "
                "be sent there."
            )
        return target


def request_name(method: str, path: str, api_url: str) -> str:
    """Return a request in words. Query options are left out: a filter may hold an e-mail address.

    :param method: the HTTP method
    :param path: relative to the Web API's root, or a link that the service gave
    :param api_url: the Web API's root
    """
    return f"{method} {words_of(without_person(path.partition('?')[0].removeprefix(api_url)), bool)}"


def encode(body: Mapping[str, Any] | None, name: str) -> bytes | None:
    """Return a body as JSON, None for none.

    :param body: the JSON object to send
    :param name: the request in words, for the error
    :raises CijInputError: it can't be written as JSON
    """
    if body is None:
        return None
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        why = "holds NaN or an infinite number" if isinstance(error, ValueError) else "can't be written as JSON"
        raise CijInputError(f"{name} was not sent: what it is to send {why}.") from None


def ids_in_request(path: str, body: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the ids in a request that are of no person, which errors may repeat.

    :param path: the request's path
    :param body: the request's body, None for none
    """
    own = [without_person(path.partition("?")[0])]
    for name, value in (body or {}).items():
        if _NO_PERSON.search(name):
            own += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
    return ids_in(" ".join(own))
