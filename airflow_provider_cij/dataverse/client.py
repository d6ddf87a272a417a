"""``DataverseClient``: the one place that sends."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx

from airflow_provider_cij.dataverse.auth import bearer_token, ssl_context
from airflow_provider_cij.dataverse.odata import same_origin
from airflow_provider_cij.dataverse.replies import Reply, entity_id, error_of, rows_of, value_of
from airflow_provider_cij.dataverse.retry import Again, Failure, RetryRules, again, failure_of
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijError, CijNotFoundError, CijReplyError, CijUnreachableError

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 10
# Past 32 connections httpx's pool costs more than the request (measured); one client is good for 16.
_MOST_CONNECTIONS = 16
_MOST_REDIRECTS = 5
_PAGE_SIZE = 5000


class Clock:
    """Time, as something a test can give."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class DataverseClient:
    """An open client of one organisation; lives inside one ``async with``, on one event loop.

    Every method raises a ``CijError`` with the service's message, code and request id.

    :param settings: the organisation and its credential
    :param clock: where time comes from
    :param rules: how patient to be with a failing service
    """

    def __init__(self, settings: Settings, clock: Clock | None = None, rules: RetryRules | None = None) -> None:
        self.settings = settings
        self._clock = clock or Clock()
        self._rules = rules or RetryRules()
        self._slots = asyncio.Semaphore(settings.max_concurrency)
        self._throttled_until = 0.0
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> DataverseClient:
        context = await asyncio.to_thread(ssl_context, self.settings.ca_bundle)
        connections = min(self.settings.max_concurrency, _MOST_CONNECTIONS)
        self._http = httpx.AsyncClient(
            base_url=self.settings.api_url,
            headers={
                "Accept": "application/json",
                "OData-Version": "4.0",
                "OData-MaxVersion": "4.0",
                **({"CallerObjectId": self.settings.caller_object_id} if self.settings.caller_object_id else {}),
            },
            verify=context,
            timeout=httpx.Timeout(self.settings.timeout_seconds, connect=_CONNECT_TIMEOUT, pool=None),
            # httpx would close an idle connection after 5 s: a reconnect for every poll.
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=90
            ),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http:
            await self._http.aclose()
            self._http = None

    async def get(self, path: str) -> dict[str, Any]:
        """Read a row, or call a function.

        :param path: below the Web API's root, query options included (``odata.query``)
        """
        return value_of(await self._send("GET", path, repeatable=True))

    async def post(self, entity_set: str, row: Mapping[str, Any], *, repeatable: bool) -> str:
        """Create a row.

        :param entity_set: such as ``msdynmkt_segments``
        :param row: its columns
        :param repeatable: True when ``row`` brings its own id, so that a second try can only find the first
        :return: the new row's id, ``""`` when the service did not name it
        """
        return entity_id(await self._send("POST", entity_set, row, repeatable=repeatable))

    async def patch(self, path: str, row: Mapping[str, Any], *, if_match: str = "*") -> None:
        """Change a row that exists.

        :param path: the row (``odata.row_path``)
        :param row: the columns to change
        :param if_match: the etag it must still have. Without any, Dataverse would make a missing row (upsert)
        """
        await self._send("PATCH", path, row, repeatable=True, headers={"If-Match": if_match})

    async def delete(self, path: str) -> None:
        """Delete a row. When a try whose reply was lost is repeated and finds nothing, that try had deleted it."""
        await self._send("DELETE", path, repeatable=True)

    async def action(self, name: str, parameters: Mapping[str, Any], *, repeatable: bool) -> dict[str, Any]:
        """Call an unbound action.

        :param name: such as ``msdynmkt_PublishSegmentDefinition``
        :param parameters: its inputs
        :param repeatable: True when doing it twice is as good as once
        :return: its outputs; 204 gives an empty dict
        """
        return value_of(await self._send("POST", name, parameters, repeatable=repeatable))

    async def pages(self, path: str, *, page_size: int = _PAGE_SIZE) -> AsyncIterator[list[dict[str, Any]]]:
        """Read rows page by page, following ``@odata.nextLink`` as it is (Dataverse docs, Page results).

        :param path: an entity set with query options but without ``$top``
        :param page_size: rows a page, 5000 at the most
        """
        prefer = {"Prefer": f"odata.maxpagesize={page_size}"}
        link = path
        while link:
            rows, link = rows_of(await self._send("GET", link, repeatable=True, headers=prefer))
            yield rows

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeatable: bool,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send until there is an answer, as often as ``retry.again`` allows."""
        # No query options in log lines and errors: a filter may hold an e-mail address.
        asked = f"{method} {path.partition('?')[0].removeprefix(self.settings.api_url)}"
        content = None if body is None else json.dumps(body).encode()
        attempt, token, rejected, refreshed, unclear = 0, "", "", False, False
        while True:
            attempt += 1
            token = await bearer_token(self.settings, rejected)
            outcome = await self._once(method, path, content, headers or {}, token, asked)
            if isinstance(outcome, Reply):
                return outcome
            failure, error = outcome
            if method == "DELETE" and unclear and isinstance(error, CijNotFoundError):
                return Reply(204, asked=asked)
            unclear = unclear or failure in (Failure.LOST, Failure.SERVER_ERROR)
            step = again(
                failure,
                attempt=attempt,
                repeatable=repeatable,
                refreshed=refreshed,
                retry_after=error.retry_after,
                jitter=random.random(),  # noqa: S311  # spreads clients, guards nothing
                rules=self._rules,
            )
            if step is None:
                raise error
            if step.fresh_token:
                rejected, refreshed = token, True
            log.info("%s: %s; again in %.1f s (attempt %d)", asked, failure.value, step.after, attempt + 1)
            await self._wait(failure, step)

    async def _wait(self, failure: Failure, step: Again) -> None:
        if failure is Failure.THROTTLED:
            # Told once, all wait: the others would only prolong it.
            self._throttled_until = max(self._throttled_until, self._clock.now() + step.after)
        else:
            await self._clock.sleep(step.after)

    async def _once(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str], token: str, asked: str
    ) -> Reply | tuple[Failure, CijError]:
        """Send one time, redirects within the organisation included."""
        for _ in range(_MOST_REDIRECTS):
            target = urljoin(self.settings.api_url, url)
            if not same_origin(target, self.settings.base_url):
                raise CijReplyError(
                    f"{asked} was answered with a link to another host. It was not followed: the token stays here."
                )
            async with self._slots:
                while (pause := self._throttled_until - self._clock.now()) > 0:
                    await self._clock.sleep(pause)
                try:
                    reply = await self._exchange(method, target, content, headers, token, asked)
                except httpx.HTTPError as error:
                    return _unanswered(error, asked)
                except httpx.InvalidURL as error:
                    raise CijReplyError(f"{asked} was answered with a link that is no address: {error}.") from None
            if reply.status < 300:
                return reply
            if reply.status in (307, 308) or (reply.status in (301, 302, 303) and method == "GET"):
                url = urljoin(target, reply.headers.get("location", ""))
                continue
            return failure_of(reply.status), error_of(reply, self._clock.now())
        raise CijReplyError(f"{asked} was redirected more than {_MOST_REDIRECTS} times.")

    async def _exchange(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], token: str, asked: str
    ) -> Reply:
        if self._http is None:
            raise RuntimeError("DataverseClient is used outside its 'async with'.")
        own = {"Authorization": f"Bearer {token}", "x-ms-client-request-id": str(uuid.uuid4())}
        if content is not None:
            own["Content-Type"] = "application/json; charset=utf-8"
        response = await self._http.request(method, target, content=content, headers={**own, **headers})
        return Reply(response.status_code, response.headers, response.content, asked)


# With these nothing has left yet. All else may have arrived.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


def _unanswered(error: httpx.HTTPError, asked: str) -> tuple[Failure, CijError]:
    if isinstance(error, _NOT_SENT):
        said = f"{asked} was not sent: {type(error).__name__}: {error}"
        return Failure.NOT_SENT, CijUnreachableError(said, hint="Check the host, the network and ca_bundle.")
    said = f"{asked} got no reply: {type(error).__name__}: {error}"
    return Failure.LOST, CijUnreachableError(said, hint="Whether it took effect is not known.")
