"""Upload a list of member ids to static groups: 1,000 ids a call, many calls at once, with a checkpoint."""

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
"""The most member ids in one call."""

OnBatch = Callable[[int, int, int], None]
"""Called after each batch with batches done, batches in all, members sent."""


class GroupQuota(NamedTuple):
    """The number of a list's ids that one group takes.

    :param group_id: the group's id
    :param size: how many ids it takes
    """

    group_id: str
    size: int


class _Batch(NamedTuple):
    number: int
    group_id: str
    ids: list[str]


def batches(ids: IdSet, quotas: Sequence[GroupQuota], size: int = BATCH_SIZE) -> Iterator[tuple[str, list[str]]]:
    """Cut a list into batches, each for one group.

    :param ids: the list
    :param quotas: how many of the ids each group takes; together all of them
    :param size: the most ids in a batch; default 1,000
    :return: the group's id and the ids of each batch
    """
    following, pending = ids.batches(size), list[str]()
    for group_id, count in quotas:
        for start in range(0, count, size):
            length = min(size, count - start)
            while len(pending) < length:
                pending += next(following)
            yield group_id, pending[:length]
            del pending[:length]


def number_of_batches(quotas: Sequence[GroupQuota], size: int = BATCH_SIZE) -> int:
    """Return how many batches ``batches`` yields.

    :param quotas: how many ids each group takes
    :param size: the most ids in a batch; default 1,000
    """
    return sum(-(-count // size) for _, count in quotas)


@dataclass(frozen=True)
class UploadCheckpoint:
    """How far an earlier try got with the same list.

    :param done: how many batches, from the first one on, are done
    :param note: stores how many are done by now
    """

    done: int
    note: Callable[[int], None]

    def sent(self, ids: IdSet) -> int:
        """Return how many of a list's ids the done batches held.

        :param ids: the list
        """
        return min(self.done * BATCH_SIZE, len(ids))


class MemberUpload:
    """Sends one list with one action.

    :param client: an open client; its ``max_concurrency`` is the number of calls at once
    :param action: the action that takes the ids
    :param segment_id: the segment's id
    :param on_batch: called after each call that succeeded
    :param checkpoint: how far an earlier try got; default None, from the start
    """

    def __init__(
        self,
        client: DataverseClient,
        action: str,
        segment_id: str,
        on_batch: OnBatch | None = None,
        checkpoint: UploadCheckpoint | None = None,
    ) -> None:
        self._client = client
        self._action = action
        self._segment_id = segment_id
        self._on_batch = on_batch
        self._checkpoint = checkpoint
        self._first = self._whole = checkpoint.done if checkpoint else 0
        self._ahead: set[int] = set()
        self._total = self._done = self._sent = 0
        self._stopped: CijStoppedError | None = None

    async def send(self, ids: IdSet, quotas: Sequence[GroupQuota]) -> int:
        """Send the list.

        :param ids: the list
        :param quotas: how many of the ids each group takes; together all of them
        :return: the number of calls
        :raises CijError: a call failed after its retries; the error says how many had succeeded
        """
        self._total = number_of_batches(quotas) - self._first
        try:
            await for_each(self._pending(ids, quotas), self._call, self._client.settings.max_concurrency)
        except CijError as error:
            if self._done:
                progress = f"{self._done:,} of {self._total:,} calls had succeeded; sending them again is safe."
                error.hint = f"{error.hint} {progress}".strip()
            raise
        if self._stopped:
            raise self._stopped
        return self._total

    def _pending(self, ids: IdSet, quotas: Sequence[GroupQuota]) -> Iterator[_Batch]:
        """Yield the batches that no earlier try has done, until the task is told to stop."""
        for number, (group_id, batch) in enumerate(batches(ids, quotas)):
            if self._stopped:
                return
            if number >= self._first:
                yield _Batch(number, group_id, batch)

    async def _call(self, batch: _Batch) -> None:
        body = {"SegmentId": self._segment_id, "GroupId": batch.group_id, "EntityIds": batch.ids}
        try:
            await self._client.action(self._action, body, repeatable=True)
        except CijStoppedError as error:
            # Raised here it would cancel the calls that are in flight.
            self._stopped = error
            return
        self._done, self._sent = self._done + 1, self._sent + len(batch.ids)
        if self._on_batch:
            self._on_batch(self._done, self._total, self._sent)
        # Batches end in any order: a checkpoint counts those before the first that is not done.
        self._ahead.add(batch.number)
        while self._whole in self._ahead:
            self._ahead.discard(self._whole)
            self._whole += 1
        if self._checkpoint:
            self._checkpoint.note(self._whole)
