"""``DataverseClient``: the one place that sends."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urljoin

import httpx

from airflow_provider_cij.dataverse.asking import UnansweredError, content_of, exchange_request
from airflow_provider_cij.dataverse.auth import bearer_token, ssl_context
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.odata import same_origin
from airflow_provider_cij.dataverse.redact import clean_logs, remember, without_person, words_of
from airflow_provider_cij.dataverse.responses import (
    Response,
    entity_id,
    error_of,
    ids_in_request,
    outputs_of,
    rows_of,
    value_of,
)
from airflow_provider_cij.dataverse.retry import Failure, RetryPolicy, failure_of, next_attempt
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.dataverse.throttle import throttle_of
from airflow_provider_cij.dataverse.wire import open_client
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijIncompleteError,
    CijNotFoundError,
    CijRefusedError,
    CijReplyError,
    CijStoppedError,
    CijThrottledError,
    CijUnreachableError,
)

__all__ = ["Clock", "DataverseClient"]

T = TypeVar("T")

log = logging.getLogger(__name__)

# Past 32 connections httpx's pool costs more than the request (measured); one client is good for 16.
_MOST_CONNECTIONS = 16
_MOST_REDIRECTS = 5
# Airflow kills a task 5 seconds after it told it to end.
_LAST_SECONDS = 3.0
_PAGE_SIZE = 5000
# Pages in a row without a row, and pages in all: 100 million rows.
_MOST_EMPTY = 100
_MOST_PAGES = 20_000
_NO_SUCH_ROW = "0x80040217"


class DataverseClient:
    """An open client of one organisation; lives inside one ``async with``, on one event loop.

    Every method raises a ``CijError`` with the service's message, code and request id.

    :param settings: the organisation and its credential
    :param clock: where time comes from
    :param retry_policy: how patient to be with a failing service
    """

    def __init__(self, settings: Settings, clock: Clock | None = None, retry_policy: RetryPolicy | None = None) -> None:
        self.settings = settings
        self._clock = clock or Clock()
        self._retry_policy = retry_policy or RetryPolicy()
        self._throttle = throttle_of(settings)
        self._http: httpx.AsyncClient | None = None
        self._stopped = False
        self.service_ahead = 0.0
        """Seconds by which the service's clock is ahead of ours, as of its last reply; it tells whole seconds only."""
        # What waits for a connection has not begun, so its time does not run yet.
        self._places = asyncio.Semaphore(self._connections)

    @property
    def _connections(self) -> int:
        return min(self.settings.max_concurrency, _MOST_CONNECTIONS)

    async def __aenter__(self) -> DataverseClient:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        remember(self.settings)
        clean_logs()
        context = await asyncio.to_thread(ssl_context, self.settings.ca_bundle)
        self._http = open_client(
            self.settings.base_url,
            context,
            self.settings.timeout_seconds,
            self._connections,
            headers={
                "Accept": "application/json",
                "OData-Version": "4.0",
                "OData-MaxVersion": "4.0",
                **({"CallerObjectId": self.settings.caller_object_id} if self.settings.caller_object_id else {}),
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http:
            await self._http.aclose()
            self._http = None

    def stop(self) -> None:
        """Send nothing any more; whoever opened the client is cancelled when what is on its way has had its time.

        Safe to call from another thread, and from a signal handler.
        """
        self._stopped = True
        loop, task = self._loop, self._task
        if task:
            loop.call_soon_threadsafe(lambda: loop.call_later(_LAST_SECONDS, task.cancel))

    async def get(self, path: str) -> dict[str, Any]:
        """Read a row, or call a function.

        :param path: below the Web API's root, query options included (``odata.query``)
        """
        return await self._send(value_of, "GET", path, repeatable=True)

    async def rows(self, path: str) -> list[dict[str, Any]]:
        """Read the rows of a query of which one page is enough.

        :param path: an entity set with query options, ``$top`` among them
        """
        return (await self._send(rows_of, "GET", path, repeatable=True))[0]

    async def post(self, entity_set: str, row: Mapping[str, Any], *, repeatable: bool) -> str:
        """Create a row.

        :param entity_set: such as ``msdynmkt_segments``
        :param row: its columns
        :param repeatable: True when ``row`` brings its own id, so that a second try can only find the first
        :return: the new row's id, ``""`` when the service did not name it
        """
        return await self._send(entity_id, "POST", entity_set, row, repeatable=repeatable)

    async def patch(self, path: str, row: Mapping[str, Any], *, if_match: str = "*") -> None:
        """Change a row that exists.

        :param path: the row (``odata.row_path``)
        :param row: the columns to change
        :param if_match: the etag it must still have. Without any, Dataverse would make a missing row (upsert)
        """
        await self._send(value_of, "PATCH", path, row, repeatable=True, headers={"If-Match": if_match})

    async def delete(self, path: str) -> None:
        """Delete a row. When a try whose reply was lost is repeated and finds nothing, that try had deleted it.

        :raises CijNotFoundError: there is no such row, or another request is deleting it
        """
        try:
            await self._send(value_of, "DELETE", path, repeatable=True)
        except CijRefusedError as error:
            clashed = isinstance(error, CijConflictError) or error.code.lower() == _NO_SUCH_ROW
            if clashed and not isinstance(error, CijNotFoundError) and await self._is_gone(path):
                if error.may_have_executed:
                    return
                raise CijNotFoundError(error.message, code=error.code, request_id=error.request_id) from None
            raise

    async def _is_gone(self, path: str) -> bool:
        try:
            await self.get(path)
        except CijNotFoundError:
            return True
        except CijError:
            pass
        return False

    async def action(
        self, name: str, parameters: Mapping[str, Any], *, repeatable: bool, refusals: bool = True
    ) -> dict[str, Any]:
        """Call an unbound action.

        :param name: such as ``msdynmkt_PublishSegmentDefinition``
        :param parameters: its inputs
        :param repeatable: True when it is idempotent
        :param refusals: False when an error in its outputs is no refusal of the call itself
        :return: its outputs; 204 gives an empty dict
        :raises CijError: it was refused, by its HTTP status or by what its outputs say
        """
        read = outputs_of if refusals else value_of
        return await self._send(read, "POST", name, parameters, repeatable=repeatable)

    async def pages(self, path: str, *, page_size: int = _PAGE_SIZE) -> AsyncIterator[list[dict[str, Any]]]:
        """Read rows page by page, following ``@odata.nextLink`` as it is (Dataverse docs, Page results).

        :param path: an entity set with query options but without ``$top``
        :param page_size: rows a page, 5000 at the most
        """
        prefer = {"Prefer": f"odata.maxpagesize={page_size}"}
        link, seen, empty = path, set[int](), 0
        while link:
            if hash(link) in seen:
                raise CijIncompleteError("The service gave the same page of rows twice: it does not turn pages.")
            if len(seen) >= _MOST_PAGES or empty >= _MOST_EMPTY:
                raise CijIncompleteError(
                    f"The service's pages of rows did not end: {len(seen):,} were read, the last {empty:,} empty.",
                    hint="Narrow the query, or try again later.",
                )
            seen.add(hash(link))
            rows, link = await self._send(rows_of, "GET", link, repeatable=True, headers=prefer)
            empty = 0 if rows else empty + 1
            yield rows

    async def _send(
        self,
        read: Callable[[Response], T],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeatable: bool,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Send until there is an answer that can be read, as often as ``retry.next_attempt`` allows."""
        # No query options in log lines and errors: a filter may hold an e-mail address.
        request_name = (
            f"{method} {words_of(without_person(path.partition('?')[0].removeprefix(self.settings.api_url)), bool)}"
        )
        content = content_of(body, request_name)
        ids = ids_in_request(path, body)
        failures: list[Failure] = []
        rejected = ""
        ambiguous: CijError | None = None
        while True:
            token = ""
            try:
                token = await self._token(rejected)
                return read(await self._once(method, path, content, headers or {}, token, request_name, ids))
            except UnansweredError as nothing:
                failure, error = nothing.failure, nothing.error
            except CijError as said:
                failure, error = failure_of(said), said
            failures.append(failure)
            if ambiguous and method == "DELETE" and isinstance(error, CijNotFoundError):
                return read(Response(204, request_name=request_name))
            if ambiguous and method == "PATCH" and isinstance(error, CijConflictError):
                # The change that it met may be its own. A conflict would be for good; who comes again reads anew.
                raise ambiguous
            ambiguous = error if failure.may_have_executed else ambiguous
            step = next_attempt(
                failures,
                repeatable=repeatable,
                max_wait=self.settings.max_throttle_wait_seconds,
                retry_after=error.retry_after,
                jitter=random.random(),  # noqa: S311  # spreads clients, guards nothing
                retry_policy=self._retry_policy,
            )
            if step is None:
                error.may_have_executed = ambiguous is not None
                raise error
            rejected = token if step.fresh_token else rejected
            log.info("%s: %s; again in %.1f s (attempt %d)", request_name, failure.words, step.after, len(failures) + 1)
            if step.after:
                await self._clock.sleep(step.after)

    async def _token(self, rejected: str) -> str:
        try:
            return await bearer_token(self.settings, rejected)
        except CijUnreachableError as error:
            raise UnansweredError(Failure.NO_TOKEN, error) from None

    async def _once(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
        token: str,
        request_name: str,
        ids: frozenset[str],
    ) -> Response:
        """Send one time, redirects within the organisation included.

        :raises CijError: as ``replies.error_of`` makes it of the reply
        :raises UnansweredError: there is none
        """
        target = self.settings.api_url
        for _ in range(_MOST_REDIRECTS):
            target = self._within(target, url, request_name)
            async with self._throttle.slot(self._clock, self.settings.max_throttle_wait_seconds, request_name):
                sent_at = self._clock.now()
                response = replace(await self._exchange(method, target, content, headers, token, request_name), ids=ids)
                if (date := response.date()) is not None:
                    self.service_ahead = date - self._clock.now()
                if response.status < 300:
                    self._throttle.on_response()
                    return response
                error = error_of(response, self._clock.now())
                if isinstance(error, CijThrottledError):
                    # While the place is still ours: the next in the queue must not run into the same.
                    told = self._retry_policy.initial_wait if error.retry_after is None else error.retry_after
                    self._throttle.on_throttled(told, sent_at=sent_at, now=self._clock.now())
            moved = response.status in (307, 308) or (response.status in (301, 302, 303) and method == "GET")
            url = response.headers.get("location", "")
            if not moved or not url:
                raise error
        raise CijReplyError(f"{request_name} was redirected more than {_MOST_REDIRECTS} times.")

    def _within(self, base: str, link: str, request_name: str) -> str:
        try:
            target = urljoin(base, link)
        except ValueError:  # half a bracket
            target = ""
        if not same_origin(target, self.settings.base_url):
            raise CijReplyError(
                f"{request_name} was answered with a link to another host. It was not followed: the token stays here."
            )
        return target

    async def _exchange(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], token: str, request_name: str
    ) -> Response:
        if self._http is None:
            raise RuntimeError("DataverseClient is used outside its 'async with'.")
        if self._stopped:
            raise CijStoppedError(f"{request_name} was not sent: the task was told to end.")
        own = {"Authorization": f"Bearer {token}", "x-ms-client-request-id": str(uuid.uuid4())}
        if content is not None:
            own["Content-Type"] = "application/json; charset=utf-8"
        async with self._places:
            return await exchange_request(
                self._http,
                method,
                target,
                content=content,
                headers={**own, **headers},
                seconds=self.settings.timeout_seconds,
                request_name=request_name,
            )
