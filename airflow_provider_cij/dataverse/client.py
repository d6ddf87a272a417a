"""``DataverseClient``: the one place that sends requests to an organisation."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from airflow_provider_cij.dataverse.auth import bearer_token, ssl_context
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.connections import Connections, connector
from airflow_provider_cij.dataverse.multipart import Operation, read_batch, write_batch
from airflow_provider_cij.dataverse.redact import redact_logs, register_secrets
from airflow_provider_cij.dataverse.request import Request, encode, ids_in_request, request_name
from airflow_provider_cij.dataverse.responses import (
    Response,
    entity_id,
    error_of,
    outputs_of,
    rows_of,
    unreadable,
    value_of,
)
from airflow_provider_cij.dataverse.retry import (
    Failure,
    NoResponseError,
    RetryPolicy,
    failure_of,
    next_attempt,
    no_response,
)
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.dataverse.throttle import throttle_of
from airflow_provider_cij.dataverse.wire import BrokenError, EncodingError, TooLargeError, exchange
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijIncompleteError,
    CijInputError,
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

_MAX_REDIRECTS = 5
# Seconds that requests whose responses are not needed have when the client closes.
_GRACE = 1.0
# Seconds that requests in flight have to end: Airflow kills a task 5 seconds after it told it to end.
_LAST_SECONDS = 3.0
_PAGE_SIZE = 5000
# Pages in a row without a row, and pages in all: 100 million rows.
_MAX_EMPTY_PAGES = 100
# Bytes. A page of 5000 rows has a few megabytes; a larger body would end the worker, not the task.
_LARGEST_BODY = 256 * 2**20
# Bytes. Parsing a larger body blocks the event loop for milliseconds. Before it is parsed, the request that waited for
# its slot is sent, which takes that request some iterations of the loop.
_LARGE_BODY = 2**16
_ITERATIONS_TO_SEND = 6
_NO_SUCH_ROW = "0x80040217"
# Requests that the service still accepts (Dataverse docs, Service protection API limits).
_LEFT = "x-ms-ratelimit-burst-remaining-xrm-requests"


class DataverseClient:
    """An open client of one organisation. It lives inside one ``async with``, on one event loop.

    Every method retries as ``retry.next_attempt`` decides, and raises a ``CijError`` with the service's message, code
    and request id.

    :param settings: the organisation and its credential
    :param clock: where time comes from, by default the real time
    :param retry_policy: how often a request is sent, by default 5 times
    """

    def __init__(self, settings: Settings, clock: Clock | None = None, retry_policy: RetryPolicy | None = None) -> None:
        self.settings = settings
        self._clock = clock or Clock()
        self._retry_policy = retry_policy or RetryPolicy()
        self._throttle = throttle_of(settings)
        self._http: Connections | None = None
        self._headers = {
            "Accept": "application/json",
            "OData-Version": "4.0",
            "OData-MaxVersion": "4.0",
            **({"CallerObjectId": settings.caller_object_id} if settings.caller_object_id else {}),
        }
        self._stopped = False
        self._unneeded: set[asyncio.Task[Any]] = set()
        self.service_ahead = 0.0
        """Seconds by which the service's clock is ahead of ours, as of its last response; precise to whole seconds."""
        self.recommended_concurrency = settings.max_concurrency
        """Requests at once: the connection's ``max_concurrency``, or fewer when the service says so (Dataverse docs,
        "Send parallel requests", ``x-ms-dop-hint``)."""

    async def __aenter__(self) -> DataverseClient:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        register_secrets(self.settings)
        redact_logs()
        context = await asyncio.to_thread(ssl_context, self.settings.ca_bundle)
        try:
            self._http = Connections(connector(self.settings.base_url, context))
        except httpx.InvalidURL:
            raise CijInputError(
                f"The connection's host {self.settings.base_url} can't be used.", hint="Give the organisation's URL."
            ) from None
        self._throttle.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        unneeded = set(self._unneeded)
        try:
            if unneeded:
                await asyncio.wait(unneeded, timeout=_GRACE)
        finally:
            for task in unneeded:
                task.cancel()
            http, self._http = self._http, None
            if http:
                http.close()
                self._throttle.close(self._clock)
            await asyncio.gather(*unneeded, return_exceptions=True)

    def let_end(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Let requests end whose responses are not needed any more.

        Cancelling one would close its connection. Those that the client finds unfinished when it closes have a second
        left.

        :param tasks: tasks that send requests of this client
        """
        for task in tasks:
            self._unneeded.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._unneeded.discard(task)
        if not task.cancelled():
            task.exception()  # else asyncio would log it

    def stop(self) -> None:
        """Stop sending. Requests in flight have 3 seconds to end, then the task that opened the client is cancelled.

        Safe to call from another thread, and from a signal handler.
        """
        self._stopped = True
        loop, task = self._loop, self._task
        if task:
            loop.call_soon_threadsafe(lambda: loop.call_later(_LAST_SECONDS, task.cancel))

    async def get(self, path: str) -> dict[str, Any]:
        """Read a row, or call a function.

        :param path: relative to the Web API's root, with query options (``odata.query``)
        :return: the JSON object of the response
        """
        return await self._send(value_of, "GET", path, repeatable=True)

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, repeatable: bool, **headers: str
    ) -> Response:
        """Send a request and return its response unread, for what its status, headers or shape tell.

        :param body: the JSON to send, by default none
        :param repeatable: True when the request is idempotent
        """
        return await self._send(lambda found: found, method, path, body, repeatable=repeatable, headers=headers)

    async def rows(self, path: str) -> list[dict[str, Any]]:
        """Read the first page of a query's rows. Use ``all_rows`` or ``pages`` to read all of them.

        :param path: an entity set with query options, usually with ``$top``
        """
        return (await self._send(rows_of, "GET", path, repeatable=True))[0]

    async def post(self, entity_set: str, row: Mapping[str, Any], *, repeatable: bool) -> str:
        """Create a row.

        :param entity_set: such as ``msdynmkt_segments``
        :param row: its columns
        :param repeatable: True when ``row`` contains its own id, so that a repeated request can't create a second row
        :return: the new row's id, ``""`` when the service did not return it
        """
        return await self._send(entity_id, "POST", entity_set, row, repeatable=repeatable)

    async def patch(self, path: str, row: Mapping[str, Any], *, if_match: str = "*") -> None:
        """Change an existing row.

        :param path: the row (``odata.row_path``)
        :param row: the columns to change
        :param if_match: the etag that the row must still have. By default ``*``, any: without the header Dataverse
            would create a missing row (upsert)
        :raises CijConflictError: the row has another etag
        """
        await self._send(value_of, "PATCH", path, row, repeatable=True, headers={"If-Match": if_match})

    async def delete(self, path: str) -> None:
        """Delete a row. A repeated request that finds no row after a lost response counts as success.

        :param path: the row (``odata.row_path``)
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
        :param repeatable: True when the action is idempotent
        :param refusals: True, the default, raises an error that the outputs hold; False returns such outputs
        :return: its outputs; an empty dict for 204
        :raises CijError: the call was refused, by its HTTP status or by its outputs
        """
        read = outputs_of if refusals else value_of
        return await self._send(read, "POST", name, parameters, repeatable=repeatable)

    async def write_many(
        self,
        verb: str,
        entity_set: str,
        targets: Sequence[Mapping[str, Any]],
        *,
        headers: Mapping[str, str] | None = None,
        final_codes: frozenset[str] = frozenset(),
    ) -> list[str]:
        """Create, update or upsert many rows in one request, all or none (Dataverse docs, "Bulk operations").

        A request whose response was lost is sent again: the targets must name their rows by ids or keys.

        :param verb: ``Create``, ``Update`` or ``Upsert``
        :param entity_set: such as ``contacts``
        :param targets: the rows, each with ``@odata.type``
        :param headers: further headers; default none
        :param final_codes: error codes, in lower case, after which the same request is not sent again; default none
        :return: the ids of the rows of ``Create``; nothing for the others
        """
        outputs = await self._send(
            value_of,
            "POST",
            f"{entity_set}/Microsoft.Dynamics.CRM.{verb}Multiple",
            {"Targets": targets},
            repeatable=True,
            headers=headers,
            final_codes=final_codes,
        )
        return list(outputs.get("Ids", ()))

    async def batch(self, operations: Sequence[Operation]) -> list[Response]:
        """Send many requests in one, each of which succeeds or fails by itself.

        A batch whose response was lost is sent again: its requests must be idempotent.

        :param operations: the requests, at most 1,000
        :return: their responses, refusals included, in the same order
        :raises CijReplyError: there are fewer or more responses than requests
        """
        boundary = f"batch_{uuid.uuid4()}"
        headers = {
            "Content-Type": f'multipart/mixed; boundary="{boundary}"',
            "Accept": "multipart/mixed, application/json",
            "Prefer": "odata.continue-on-error",
        }
        content = write_batch(operations, boundary)
        responses = await self._send(
            read_batch, "POST", "$batch", repeatable=True, headers=headers, given_content=content
        )
        if len(responses) != len(operations):
            raise CijReplyError(f"A batch of {len(operations):,} requests got {len(responses):,} responses.")
        return responses

    async def pause(self, seconds: float) -> None:
        """Sleep by the client's clock.

        :param seconds: how long
        """
        await self._clock.sleep(seconds)

    async def pages(
        self, path: str, *, page_size: int = _PAGE_SIZE, max_pages: int = 20_000
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Read rows page by page, following ``@odata.nextLink`` unchanged (Dataverse docs, Page results).

        :param path: an entity set with query options but without ``$top``
        :param page_size: rows a page, by default 5000, the service's maximum
        :param max_pages: more pages than this are an error: no table has as many rows. Default 20,000
        :return: an iterator over the pages, each a list of rows
        :raises CijIncompleteError: the pages repeat, or do not end
        """
        prefer = {"Prefer": f"odata.maxpagesize={page_size}"}
        link, seen, empty = path, set[int](), 0
        while link:
            if hash(link) in seen:
                raise CijIncompleteError("The service gave the same page of rows twice: it does not turn pages.")
            if len(seen) >= max_pages or empty >= _MAX_EMPTY_PAGES:
                raise CijIncompleteError(
                    f"The service's pages of rows did not end: {len(seen):,} were read, the last {empty:,} empty.",
                    hint="Narrow the query, or try again later.",
                )
            seen.add(hash(link))
            rows, link = await self._send(rows_of, "GET", link, repeatable=True, headers=prefer)
            empty = 0 if rows else empty + 1
            yield rows

    async def all_rows(self, path: str) -> list[dict[str, Any]]:
        """Read all rows of a query.

        :param path: an entity set with query options but without ``$top``
        :raises CijIncompleteError: the pages repeat, or do not end
        """
        return [row async for page in self.pages(path) for row in page]

    async def _send(
        self,
        read: Callable[[Response], T],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeatable: bool,
        headers: Mapping[str, str] | None = None,
        given_content: bytes | None = None,
        final_codes: frozenset[str] = frozenset(),
    ) -> T:
        """Send a request, as often as ``retry.next_attempt`` allows, and return what ``read`` makes of the response."""
        name = request_name(method, path, self.settings.api_url)
        content = given_content or encode(body, name)
        request = Request(method, path, name, content, headers or {}, ids_in_request(path, body))
        failures: list[Failure] = []
        rejected = ""
        ambiguous: CijError | None = None
        while True:
            token = ""
            try:
                token = await self._token(rejected)
                response = await self._attempt(request, token)
                if len(response.body) > _LARGE_BODY:
                    for _ in range(_ITERATIONS_TO_SEND):
                        await asyncio.sleep(0)
                return read(response)
            except NoResponseError as none:
                failure, error = none.failure, none.error
            except CijError as caught:
                failure, error = failure_of(caught), caught
            failures.append(failure)
            if ambiguous and method == "DELETE" and isinstance(error, CijNotFoundError):
                return read(Response(204, request_name=name))
            if ambiguous and method == "PATCH" and isinstance(error, CijConflictError):
                # The newer etag may be that of our own first attempt. A conflict would be permanent; a retry of the
                # task reads the row anew.
                raise ambiguous
            ambiguous = error if failure.may_have_executed else ambiguous
            step = error.code.lower() not in final_codes and next_attempt(
                failures,
                repeatable=repeatable,
                max_wait=self.settings.max_throttle_wait_seconds,
                retry_after=error.retry_after,
                jitter=random.random(),  # noqa: S311  # spreads clients, guards nothing
                retry_policy=self._retry_policy,
            )
            if not step:
                error.may_have_executed = ambiguous is not None
                raise error
            rejected = token if step.fresh_token else rejected
            log.info(
                "%s: %s, retrying in %.1f s (attempt %d)", name, failure.description, step.after, len(failures) + 1
            )
            if step.after:
                await self._clock.sleep(step.after)

    async def _token(self, rejected: str) -> str:
        try:
            return await bearer_token(self.settings, rejected)
        except CijUnreachableError as error:
            raise NoResponseError(Failure.NO_TOKEN, error) from None

    async def _attempt(self, request: Request, token: str) -> Response:
        """Send a request once, following redirects within the organisation.

        :raises CijError: the response is no success (``responses.error_of``)
        :raises NoResponseError: there is no response
        """
        target, link, max_wait = self.settings.api_url, request.path, self.settings.max_throttle_wait_seconds
        for _ in range(_MAX_REDIRECTS):
            target = request.target(target, link, self.settings.base_url)
            async with self._throttle.slot(self._clock, max_wait, request.name) as in_flight:
                sent_at, started = self._clock.now(), self._clock.monotonic()
                response = await self._exchange(request, target, token)
                log.debug("%s: HTTP %d", request.name, response.status)
                if (date := response.date()) is not None:
                    self.service_ahead = date - self._clock.now()
                if (left := response.headers.get(_LEFT, "")).isdecimal():
                    self._throttle.note_left(int(left[:9]), started, self._clock)
                if re.fullmatch(r"[1-9][0-9]{0,4}", hint := response.headers.get("x-ms-dop-hint", "")):
                    self.recommended_concurrency = min(self.settings.max_concurrency, int(hint))
                if response.status < 300:
                    self._throttle.on_response()
                    return response
                error = error_of(response, self._clock.now())
                if isinstance(error, CijThrottledError):
                    # While the slot is still held: the next request in the queue must not be throttled too.
                    wait = self._retry_policy.initial_wait if error.retry_after is None else error.retry_after
                    self._throttle.on_throttled(
                        wait, self._clock, sent_at=sent_at, in_flight=in_flight, code=error.code
                    )
            moved = response.status in (307, 308) or (response.status in (301, 302, 303) and request.method == "GET")
            link = response.headers.get("location", "")
            if not moved or not link:
                raise error
        raise CijReplyError(f"{request.name} was redirected more than {_MAX_REDIRECTS} times.")

    async def _exchange(self, request: Request, url: str, token: str) -> Response:
        """Send one HTTP request and read its response.

        :raises CijReplyError: the response is too large, or is encoded in a way that was not asked for
        :raises NoResponseError: there is no response
        """
        if self._http is None:
            raise RuntimeError("DataverseClient is used outside its 'async with'.")
        if self._stopped:
            raise CijStoppedError(f"{request.name} was not sent: the task was told to end.")
        own = {
            **self._headers,
            "Authorization": f"Bearer {token}",
            "x-ms-client-request-id": str(uuid.uuid4()),
        }
        if request.content is not None:
            own["Content-Type"] = "application/json; charset=utf-8"
        try:
            async with self._http.idle() as connection:
                status, received, body = await exchange(
                    connection,
                    request.method,
                    url,
                    content=request.content,
                    headers={**own, **request.headers},
                    seconds=self.settings.timeout_seconds,
                    largest=_LARGEST_BODY,
                )
            return Response(status, received, body, request.name, request.ids)
        except (httpx.InvalidURL, UnicodeError):
            raise CijReplyError(f"{request.name} was answered with a link or an etag that can't be sent.") from None
        except TooLargeError:
            raise CijReplyError(
                f"{request.name} was answered with more than {_LARGEST_BODY >> 20} MiB. The rest was not read."
            ) from None
        except EncodingError as error:
            raise CijReplyError(f"{request.name} was answered with {error}. It was not read.") from None
        except BrokenError as broken:
            if broken.status is None:
                raise no_response(broken, request.name) from None
            response = Response(broken.status, broken.headers, b"", request.name, request.ids)
            if response.status < 300:
                raise unreadable(response, f"a body that broke off: {broken.why}") from None
            return response  # the status alone tells of a refusal
