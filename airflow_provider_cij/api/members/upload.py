"""A list on its way into static groups: 1000 ids a call, as many calls at once as the connection allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.errors import CijError, CijStoppedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

BATCH_SIZE = 1000
"""Member ids in one call."""

OnBatch = Callable[[int, int, int], None]
"""Called after each batch with batches done, batches in all, members sent."""


class GroupQuota(NamedTuple):
    """The number of ids of a list that one group takes.

    :param group_id: the group's id
    :param size: how many ids it takes
    """

    group_id: str
    size: int


def batches(ids: IdSet, quotas: Sequence[GroupQuota], size: int = BATCH_SIZE) -> Iterator[tuple[str, list[str]]]:
    """Cut a list into calls of at most ``size`` ids, each for one group.

    :param ids: the list
    :param quotas: how many of the ids each group takes; together all of them
    :param size: the most ids in a call; default 1,000
    :return: the group's id and the ids, call by call
    """
    ids_ahead, pending = ids.batches(size), list[str]()
    for group_id, count in quotas:
        for start in range(0, count, size):
            length = min(size, count - start)
            while len(pending) < length:
                pending += next(ids_ahead)
            yield group_id, pending[:length]
            del pending[:length]


def number_of_batches(quotas: Sequence[GroupQuota], size: int = BATCH_SIZE) -> int:
    """Return how many calls ``batches`` yields.

    :param quotas: how many ids each group takes
    :param size: the most ids in a call; default 1,000
    """
    return sum(-(-count // size) for _, count in quotas)


@dataclass(frozen=True)
class UploadCheckpoint:
    """Where an earlier try got to.

    :param done: how many calls of the same list, from the first one on, are done
    :param note: is told how many are done by now
    """

    done: int
    note: Callable[[int], None]

    def sent(self, ids: IdSet) -> int:
        """How many of the list those calls held."""
        return min(self.done * BATCH_SIZE, len(ids))


class MemberUpload:
    """One list, one action.

    :param client: open
    :param action: what to do with the ids
    :param segment_id: the segment
    :param on_batch: is told of every call that succeeded
    :param resume: where an earlier try got to
    """

    def __init__(
        self,
        client: DataverseClient,
        action: str,
        segment_id: str,
        on_batch: OnBatch | None = None,
        resume: UploadCheckpoint | None = None,
    ) -> None:
        self._client = client
        self._action = action
        self._segment_id = segment_id
        self._on_batch = on_batch
        self._resume = resume
        self._first = self._whole = resume.done if resume else 0
        self._ahead: set[int] = set()
        self._total = self._done = self._sent = 0
        self._stopped: CijStoppedError | None = None

    async def send(self, ids: IdSet, quotas: Sequence[GroupQuota]) -> int:
        """Send the list.

        :param ids: the list
        :param quotas: how many of them each group takes
        :return: the number of calls
        :raises CijError: a call failed for good; the error says how many had succeeded
        """
        self._total = number_of_batches(quotas) - self._first
        try:
            await for_each(self._pending(ids, quotas), self._call, self._client.settings.max_concurrency)
        except CijError as error:
            if self._done:
                said = f"{self._done} of {self._total} calls had succeeded; sending them again is safe."
                error.hint = f"{error.hint} {said}".strip()
            raise
        if self._stopped:
            raise self._stopped
        return self._total

    def _pending(self, ids: IdSet, quotas: Sequence[GroupQuota]) -> Iterator[tuple[int, str, list[str]]]:
        """Yield the calls that no earlier try has done, with their numbers, until the task is told to stop."""
        for number, (group_id, batch) in enumerate(batches(ids, quotas)):
            if self._stopped:
                return
            if number >= self._first:
                yield number, group_id, batch

    async def _call(self, call: tuple[int, str, list[str]]) -> None:
        number, group_id, batch = call
        body = {"SegmentId": self._segment_id, "GroupId": group_id, "EntityIds": batch}
        try:
            await self._client.action(self._action, body, repeatable=True)
        except CijStoppedError as error:
            # Raised here it would break off what the others have on its way.
            self._stopped = error
            return
        self._done, self._sent = self._done + 1, self._sent + len(batch)
        if self._on_batch:
            self._on_batch(self._done, self._total, self._sent)
        self._ahead.add(number)
        while self._whole in self._ahead:
            self._ahead.discard(self._whole)
            self._whole += 1
        if self._resume:
            self._resume.note(self._whole)
