"""A client of the sandbox's own endpoints, with only the standard library."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any


class Remote:
    """Sends requests to ``/sandbox`` of a running sandbox."""

    def __init__(self, base_url: str, ca: str) -> None:
        self._url = f"{base_url}/sandbox/"
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))
        # No proxy: the sandbox is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; return the JSON of its reply, or raise ValueError with the sandbox's reason."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, content, headers, method=method)  # noqa: S310 - https
        try:
            with self._opener.open(request, timeout=30) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise ValueError(f"{method} {self._url}{path}: {refusal.read().decode()}") from None

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the requests after a number."""
        found: list[dict[str, Any]] = self.call("GET", f"requests?since={since}")["requests"]
        return found

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the raised events after a number."""
        found: list[dict[str, Any]] = self.call("GET", f"events?since={since}")["events"]
        return found


class RemoteFaults:
    """The fault rules of a running sandbox."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def add(self, fault: str, **rule: object) -> None:
        """Add a rule: ``add("429", path="AddStaticMembers", count=2)``."""
        self._remote.call("POST", "faults", {"fault": fault, **rule})

    def clear(self) -> None:
        """Delete all rules."""
        self._remote.call("DELETE", "faults")

    def struck(self) -> list[int]:
        """Return how many requests each rule has struck, in the order they were added."""
        return [rule["struck"] for rule in self._remote.call("GET", "faults")["faults"]]
