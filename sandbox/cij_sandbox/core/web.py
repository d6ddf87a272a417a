"""Requests and answers of the Web API, without HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from cij_sandbox.core import errors

JSON_TYPE = "application/json; odata.metadata=minimal"
_PREFERENCES = re.compile(r'(?:[^,"]|"[^"]*")+')


@dataclass(frozen=True)
class Request:
    """A request to the Web API: ``path`` is what follows the version, ``query`` is still encoded."""

    method: str
    base_url: str
    version: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def root(self) -> str:
        """The URL of the Web API."""
        return f"{self.base_url}/api/data/{self.version}"

    @property
    def context(self) -> str:
        """The start of every ``@odata.context``."""
        return f"{self.root}/$metadata#"

    def preference(self, name: str) -> str | None:
        """Return the value of a preference, "" when it has none, None when the preference is not given."""
        return preference(self.headers, name)

    def json_object(self, entity: str) -> dict[str, object]:
        """Return the body, or raise the error for one that is no JSON object."""
        inner = "Microsoft.OData.ODataException: "
        try:
            content = json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError) as problem:
            raise errors.bad_payload(entity, f"{inner}Invalid JSON. {problem}") from None
        if not isinstance(content, dict):
            raise errors.bad_payload(entity, f"{inner}An object was expected as the body of the request.")
        return content


@dataclass(frozen=True)
class Answer:
    """A status, a body (JSON, or bytes that are sent as they are, or none), and headers."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> tuple[dict[str, str], bytes | None]:
        """Return the headers and the content as they are sent."""
        headers = {"OData-Version": "4.0", **self.headers}
        if self.body is None:
            return headers, None
        content = self.body
        if not isinstance(content, bytes):
            content = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return {"Content-Type": JSON_TYPE, **headers}, content


def preference(headers: Mapping[str, str], name: str) -> str | None:
    """Return the value of a preference, "" when it has none, None when the preference is not given."""
    for part in _PREFERENCES.findall(headers.get("prefer", "")):
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return str(value.strip().strip('"'))
    return None


def options_of(query: str) -> dict[str, str]:
    """Return the query options of a URL, or raise the error for one that is given twice."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise errors.bad_query(
                f"Query option '{name}' was specified more than once, but it must be specified at most once."
            )
        options[name] = value
    return options


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value.")
