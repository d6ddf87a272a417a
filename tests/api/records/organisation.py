"""A sandbox of one's own, and what it holds, read with plain requests."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import msal
from cij_sandbox.testing import Sandbox


class Contents:
    """Reads and writes rows of a sandbox without the package under test."""

    def __init__(self, sandbox: Sandbox) -> None:
        context = ssl.create_default_context(cafile=sandbox.ca)
        self._plain = httpx.Client(base_url=sandbox.base_url, verify=context, timeout=60)
        token = msal.ConfidentialClientApplication(
            sandbox.client_id,
            client_credential=sandbox.client_secret,
            authority=sandbox.authority,
            instance_discovery=False,
            http_client=self._plain,
        ).acquire_token_for_client([f"{sandbox.base_url}/.default"])["access_token"]
        self._web = httpx.Client(
            base_url=f"{sandbox.base_url}/api/data/v9.2/",
            verify=context,
            timeout=60,
            headers={"Authorization": f"Bearer {token}"},
        )

    def close(self) -> None:
        self._web.close()
        self._plain.close()

    def rows(self, path: str) -> list[dict[str, Any]]:
        """Return all rows of a query."""
        found, link = [], path
        while link:
            page = self._web.get(link).raise_for_status().json()
            found += page["value"]
            link = page.get("@odata.nextLink", "")
        return found

    def post(self, path: str, body: object) -> httpx.Response:
        return self._web.post(path, json=body).raise_for_status()

    def delete_all(self, entity_set: str, id_column: str, where: str = "") -> None:
        """Delete the rows of a query."""
        for row in self.rows(f"{entity_set}?$select={id_column}{where}"):
            self._web.delete(f"{entity_set}({row[id_column]})").raise_for_status()

    def faults(self, *rules: dict[str, Any]) -> None:
        """Replace the fault rules."""
        self._plain.delete("/sandbox/faults").raise_for_status()
        if rules:
            self._plain.post("/sandbox/faults", json=list(rules)).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests so far."""
        return self._plain.get("/sandbox/requests").raise_for_status().json()["requests"]

    def writes(self, since: int = 0) -> list[str]:
        """Return the last parts of the paths of writes after a number of requests."""
        return [
            request["path"].rpartition(".")[2].rpartition("/")[2]
            for request in self.requests()
            if request["number"] > since and request["method"] == "POST" and "/api/data/" in request["path"]
        ]

    def last(self) -> int:
        """Return the number of the last request."""
        return max((request["number"] for request in self.requests()), default=0)
