"""Combine reads that are requested at about the same time into one request.

The service allows a user 6,000 requests in 5 minutes: polled one by one, 200 segments every 10 s are too many.
"""

from __future__ import annotations

import asyncio
import json
import operator
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from airflow_provider_cij.api.standing import StandingRead, moment_now, reads_of_check, seconds_to_moment
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.multipart import Operation
from airflow_provider_cij.dataverse.request import ids_in_request
from airflow_provider_cij.dataverse.responses import Response, error_of, outputs_of, value_of
from airflow_provider_cij.errors import CijError, CijRefusedError, CijUnreachableError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

BATCH_WINDOW = 0.25
"""Seconds that the first caller waits for others, at the most. Waits that were read together are polled together."""
# A URL of 32,768 characters has room for 700.
_ROWS_A_REQUEST = 680
# Callers that a request resumes at once: thousands would block the event loop. Several requests come back together.
_CALLERS_A_TURN = 5
_MOST_AT_ONCE = 100_000
# Actions of a batch, which the service runs one after another, and the intended seconds of a batch.
_FIRST_ACTIONS, _FEWEST_ACTIONS, _MOST_ACTIONS = 50, 10, 500
_SECONDS_A_BATCH = 10.0

_NOT_POLLED = object()

K = TypeVar("K")
V = TypeVar("V")
_Answer = asyncio.Future[Any] | StandingRead


class RequestBatcher(Generic[K, V]):
    """Collects keys for a short time, and reads them with one request.

    :param read_many: reads the values of many keys
    :param most: the maximum number of keys a request
    :param window: seconds to collect keys
    :param same: returns whether two values of a key count as equal; default ``==``
    """

    def __init__(
        self,
        read_many: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        most: int,
        window: float = BATCH_WINDOW,
        same: Callable[[Any, Any], bool] = operator.eq,
    ) -> None:
        self._read_many = read_many
        self._most = most
        self._window = window
        self.same = same
        self._gathering: _Asked[K] | None = None
        self._standing: dict[float, list[StandingRead]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def read(self, key: K) -> V | None:
        """Return the value of a key; None when there is none, or when no other key was requested.

        In a check of a wait, return the value that woke the wait, and keep the read in the poll.
        """
        reads = reads_of_check()
        if reads and (polled := reads.take(self, key, _NOT_POLLED)) is not _NOT_POLLED:
            return polled  # type: ignore[no-any-return]  # what was polled is a value of the key
        # Each caller has its own future, so that a cancelled one does not affect the others.
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._ask(key, answer, reads.context if reads else None)
        value = await answer
        if reads:
            reads.note(self, key, value)
        return value

    def stand(self, read: StandingRead) -> None:
        """Read a key at the next common poll time, unless its wait has ended by then.

        :param read: the standing read, which gets the value
        """
        interval = read.sleep.interval
        if interval not in self._standing:
            self._standing[interval] = []
            asyncio.get_running_loop().call_later(seconds_to_moment(interval), self._poll, interval)
        self._standing[interval].append(read)

    def _poll(self, interval: float) -> None:
        moment = moment_now(interval)
        for read in self._standing.pop(interval):
            if read.is_due(moment):
                self._ask(read.key, read, read.sleep.reads.context)

    def _ask(self, key: K, answer: _Answer, context: Context | None) -> None:
        """Add a key to the next request.

        :param key: the key
        :param answer: gets the value
        :param context: the context of the request, when this key starts it; None, the current one
        """
        if self._gathering is None:
            self._gathering = _Asked()
            self._start(self._answer(self._gathering), context)
        self._gathering.add(key, answer)

    def _start(self, work: Any, context: Context | None = None) -> None:
        task = asyncio.create_task(work, context=context)
        self._running.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._running.discard)

    async def _answer(self, asked: _Asked[K]) -> None:
        await asyncio.sleep(self._window)
        self._gathering = None
        parts = asked.parts(self._most)
        for part in parts:
            self._start(self._answer_part(part, alone=len(parts) == len(parts[0].distinct) == 1))

    async def _answer_part(self, part: _Asked[K], *, alone: bool) -> None:
        values: Mapping[K, V] = {}
        failed: BaseException | None = None
        try:
            values = {} if alone else await self._read_many(list(part.distinct))
        except CijRefusedError:
            pass  # each caller then reads its own key, and gets its own error
        except asyncio.CancelledError:
            for answer in part.answers:
                answer.cancel()
            raise
        except Exception as error:
            failed = error
        woken = 0
        for key, answer in zip(part.keys, part.answers, strict=True):
            if answer.done():
                continue
            if failed is not None:
                answer.set_exception(failed)
            else:
                answer.set_result(values.get(key))
            if answer.done():  # a read that stays in the poll wakes no wait
                woken += 1
                if woken % _CALLERS_A_TURN == 0:
                    await asyncio.sleep(0)


class _Asked(Generic[K]):
    """Keys that are read together, and the receivers of their values. Flat lists, for thousands of keys a poll."""

    def __init__(self) -> None:
        self.keys: list[K] = []
        self.answers: list[_Answer] = []
        self.distinct: dict[K, None] = {}

    def add(self, key: K, answer: _Answer) -> None:
        """Add a key and the receiver of its value."""
        self.keys.append(key)
        self.answers.append(answer)
        self.distinct[key] = None

    def parts(self, most: int) -> list[_Asked[K]]:
        """Return the keys in parts with a maximum number of distinct keys."""
        if len(self.distinct) <= most:
            return [self]
        part_of = {key: place // most for place, key in enumerate(self.distinct)}
        parts = [_Asked[K]() for _ in range(0, len(part_of), most)]
        for key, answer in zip(self.keys, self.answers, strict=True):
            parts[part_of[key]].add(key, answer)
        return parts


class BatchedReads:
    """Adds batched reads of rows to verbs on rows: ``class _(BatchedReads, Segments)``.

    A row that has not changed is not converted to a model again.

    :param client: open
    :param window: seconds to collect reads
    """

    rows: Any
    """Reads many rows by their ids."""
    _of: Any
    """Converts a row to a model."""

    def __init__(self, client: Any, window: float = BATCH_WINDOW) -> None:
        super().__init__(client)  # type: ignore[call-arg]
        self._rows: RequestBatcher[str, Mapping[str, Any]] = RequestBatcher(self.rows, _ROWS_A_REQUEST, window)

    async def get(self, row_id: str, *also: Any) -> Any:
        """Read a row together with those that others request now. With further columns it is read alone."""
        found = None if also else await self._rows.read(normalize_guid(row_id))
        # No other key was requested, or the row is not found: the id may be that of a definition.
        return await super().get(row_id, *also) if found is None else self._of(found)  # type: ignore[misc]


class BatchedActions:
    """A client that sends idempotent actions in one ``$batch`` with those that others call now.

    A batch counts as one request, and its time in full: the service allows a user 20 minutes in 5 (Dataverse docs,
    Service protection API limits). So one batch is sent after another, which take 5 of them at most.

    :param client: open
    :param window: seconds to collect reads
    """

    def __init__(self, client: DataverseClient, window: float = BATCH_WINDOW) -> None:
        self._client = client
        self._calls: RequestBatcher[tuple[str, str], Response] = RequestBatcher(
            self._send, _MOST_AT_ONCE, window, _same_response
        )
        self._one_at_a_time = asyncio.Lock()
        self._actions = _FIRST_ACTIONS

    async def action(
        self, name: str, parameters: Mapping[str, Any], *, repeatable: bool, refusals: bool = True
    ) -> dict[str, Any]:
        """Call an unbound action, as ``DataverseClient.action`` does.

        :param name: the action's unique name
        :param parameters: the action's inputs
        :param repeatable: must be True: only idempotent actions are batched
        :param refusals: True (default) raises an error that the outputs contain; False returns the outputs
        :raises CijError: the call was refused
        """
        response = await self._calls.read((name, json.dumps(parameters))) if repeatable else None
        if response is None:
            return await self._client.action(name, parameters, repeatable=repeatable, refusals=refusals)
        try:
            if response.status < 300:
                return outputs_of(response) if refusals else value_of(response)
        except CijError:
            pass  # raised again below, with the name of the action
        response = response._replace(request_name=f"POST {name}", ids=ids_in_request(name, parameters))
        if response.status >= 300:
            raise error_of(response, time.time())
        return outputs_of(response) if refusals else value_of(response)

    async def _send(self, calls: list[tuple[str, str]]) -> dict[tuple[str, str], Response]:
        root = urlsplit(self._client.settings.api_url).path
        found: dict[tuple[str, str], Response] = {}
        async with self._one_at_a_time:
            while len(found) < len(calls):
                part = calls[len(found) : len(found) + self._actions]
                operations = [Operation("POST", f"{root}{name}", body) for name, body in part]
                started = time.monotonic()
                try:
                    responses = await self._client.batch(operations)
                except CijUnreachableError:
                    self._actions = _FEWEST_ACTIONS
                    raise
                fitting = int(len(part) * _SECONDS_A_BATCH / max(0.001, time.monotonic() - started))
                self._actions = max(_FEWEST_ACTIONS, min(fitting, _MOST_ACTIONS))
                found |= zip(part, responses, strict=True)
        return found


def _same_response(one: Response | None, other: Response | None) -> bool:
    """Return whether two responses are equal but for their request ids, which always differ."""
    return one is not None and other is not None and (one.status, one.body) == (other.status, other.body)
