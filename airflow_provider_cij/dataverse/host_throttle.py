"""What the processes of a host know together of one user's throttle, through a small file in the temporary folder.

It holds the moment until which the service accepts nothing, and how many requests it still accepted when it last said
so. Requests in flight are locks on single bytes after these: the system drops those of a process that ends, however
it ends. Without a usable file each process is for itself.

The last process to close its clients takes the file away, unless it says that the service is closed. One that is taken
away while it is used, such as by a cleaner of the folder, is noticed within seconds, and created again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import stat
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path

from airflow_provider_cij.dataverse.clock import DAY, Clock
from airflow_provider_cij.dataverse.settings import Settings

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

SERVICE_LIMIT = 52
"""Requests in flight that the service allows a user (Dataverse docs, Service protection API limits)."""

# Written at and closed until by the monotonic clock, written at by the wall clock, and a checksum of them.
_CLOSING = struct.Struct("<ddd")
_CHECKSUM = struct.Struct("<I")
_SIZE = _CLOSING.size + _CHECKSUM.size
# Requests that the service still accepts and when that was noted, after the closing. Any content is good for a while.
_LEFT = struct.Struct("<Id")
_LEFT_AT = 64
# Requests left from which on the number is not written any more.
_PLENTY = 4 * SERVICE_LIMIT
# Bytes after the content, whether the file has them or not: one for writing, then one for each request in flight.
_WRITER, _FIRST_SLOT = 1024, 1025
# The byte before them is shared by all processes that use the file: who has it alone may take the file away.
_USERS = 1023
# Tries to open the file while another process takes it away.
_OPENINGS = 100
# Seconds between two looks whether the file is still in its place.
_STILL_THERE = 1.0
# Seconds between two looks of an event loop for a free slot, at most, and of all of a process, at least.
_LOOK_AGAIN, _LOOK_TOGETHER = 0.03, 0.01
# Seconds by which the wall clock may be set meanwhile.
_TOLERANCE = 60.0


class HostThrottle:
    """The shared part of one user's throttle. Safe to use from any thread and any event loop of a process.

    :param path: the file, which is created; ``""`` for a process that is for itself
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._left = _PLENTY, 0.0
        self._none_free_at = self._seen_at = -1.0
        self._path = path if fcntl else ""
        self._users = 0
        self._looking: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self._file = _open(self._path)

    def open(self) -> None:
        """Count one more client that uses this."""
        with self._lock:
            self._users += 1
            if self._users == 1 and self._file is None:
                self._file = _open(self._path)

    def close(self, clock: Clock) -> None:
        """Count one client less. The last one of all processes removes the file, unless the service is closed.

        :param clock: where time comes from
        """
        with self._lock:
            self._users -= 1
            if self._users > 0 or self._file is None:
                return
            with contextlib.suppress(OSError):
                alone = _try_lock(self._file, _USERS)
                if alone and self.closed_for(clock) <= 0 and _is_in_place(self._file, self._path):
                    Path(self._path).unlink()
            os.close(self._file)  # with all locks
            self._file = None

    def _keep_in_place(self, clock: Clock) -> None:
        """Open the file anew when it was removed or replaced, and write there what is known."""
        now = clock.monotonic()
        if self._file is None or 0 <= now - self._seen_at < _STILL_THERE:
            return
        self._seen_at = now
        if _is_in_place(self._file, self._path):
            return
        former, closed, held = self._file, self.closed_for(clock), set(self._held)
        self._file = _open(self._path)
        for number in held:
            self._is_free(number)  # locks it
        os.close(former)
        if closed > 0:
            self._write_closing(closed, clock)

    def closed_for(self, clock: Clock) -> float:
        """Return the seconds for which the service accepts nothing, 0 when it is open as far as is known.

        :param clock: where time comes from
        """
        if self._file is None:
            return 0.0
        try:
            content = os.pread(self._file, _SIZE, 0)
        except OSError:
            return 0.0
        if len(content) < _SIZE or _CHECKSUM.pack(zlib.crc32(content[: _CLOSING.size])) != content[_CLOSING.size :]:
            return 0.0  # new, or torn
        written, closed_until, written_at = _CLOSING.unpack_from(content)
        now = clock.monotonic()
        seconds = closed_until - now
        # The monotonic clock begins anew with the system: what was written before is of no use.
        known = written <= now and 0 < seconds <= DAY and abs(clock.now() - written_at - (now - written)) < _TOLERANCE
        return seconds if known else 0.0

    def close_for(self, seconds: float, clock: Clock) -> None:
        """Record for the other processes until when the service accepts no request. A later moment is kept.

        :param seconds: from now
        :param clock: where time comes from
        """
        if self._file is None:
            return
        with self._lock:
            self._keep_in_place(clock)
            self._write_closing(seconds, clock)

    def _write_closing(self, seconds: float, clock: Clock) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError), _writing(self._file):
            seconds = max(min(seconds, DAY), self.closed_for(clock))
            now = clock.monotonic()
            content = _CLOSING.pack(now, now + seconds, clock.now())
            os.pwrite(self._file, content + _CHECKSUM.pack(zlib.crc32(content)), 0)

    @asynccontextmanager
    async def slot(self, most: int, clock: Clock) -> AsyncIterator[None]:
        """Wait until fewer than ``most`` requests of the host are in flight, and count one more meanwhile.

        :param most: requests in flight at most
        :param clock: where time comes from
        """
        with self._lock:
            self._keep_in_place(clock)
        # One request of an event loop looks, and the others wait for their turn: each look wakes the process.
        async with self._turn_to_look():
            while (taken := self._take(most, clock.monotonic())) is None:
                await clock.sleep(_LOOK_AGAIN * random.random())  # noqa: S311  # spreads, guards nothing
        try:
            yield
        finally:
            self._release(taken)

    def _turn_to_look(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._looking:
                # A lock keeps its event loop alive.
                for closed in [one for one in self._looking if one.is_closed()]:
                    del self._looking[closed]
                self._looking[loop] = asyncio.Lock()
            return self._looking[loop]

    def note_left(self, count: int, sent_at: float, clock: Clock) -> None:
        """Note how many requests the service still accepts in its window of time: no more are sent at once, but one.

        :param count: what a response said
        :param sent_at: when its request was sent, by the monotonic clock: responses overtake one another, and only one
            to a request that was sent since the last note raises the number
        :param clock: where time comes from
        """
        (left, noted_at), now = self._read_left(), clock.monotonic()
        newer = sent_at > noted_at or noted_at > now  # noted before the system was started
        if count != left and min(count, left) < _PLENTY and (count < left or newer):
            self._left = min(count, _PLENTY), now
            if self._file is not None:
                with contextlib.suppress(OSError):
                    os.pwrite(self._file, _LEFT.pack(*self._left), _LEFT_AT)

    def _read_left(self) -> tuple[int, float]:
        if self._file is not None:
            with contextlib.suppress(OSError):
                content = os.pread(self._file, _LEFT.size, _LEFT_AT)
                self._left = _LEFT.unpack(content) if len(content) == _LEFT.size else (_PLENTY, 0.0)
        return self._left

    def _take(self, most: int, now: float) -> int | None:
        """Take the first free slot and return its number, None when there is none."""
        with self._lock:
            if 0 <= now - self._none_free_at < _LOOK_TOGETHER:
                return None
            left, taken, busy = max(1, self._read_left()[0]), None, 0
            for number in range(most):
                # Locks of one process do not keep it from the same byte.
                if number in self._held or not self._is_free(number):
                    busy += 1
                elif taken is None:
                    taken = number
                else:
                    self._free(number)
                if busy >= left or (taken is not None and left >= most):
                    break
            if taken is not None and busy < left:
                self._held.add(taken)
                return taken
            if taken is not None:
                self._free(taken)
            self._none_free_at = now
        return None

    def _is_free(self, number: int) -> bool:
        try:
            return self._file is None or _try_lock(self._file, _FIRST_SLOT + number)
        except OSError:  # a file system without locks
            return True

    def _release(self, number: int) -> None:
        with self._lock:
            self._held.discard(number)
            self._none_free_at = -1.0
            self._free(number)

    def _free(self, number: int) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _FIRST_SLOT + number)


@contextlib.contextmanager
def _writing(file: int) -> Iterator[None]:
    """Keep other processes from writing. One that is stopped while it writes does not block the others for long."""
    locked = any(_try_lock(file, _WRITER) for _ in range(1000))
    try:
        yield
    finally:
        if locked:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, _WRITER)


def _try_lock(file: int, place: int, *, shared: bool = False) -> bool:
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
        return False
    return True


def _is_in_place(file: int, path: str) -> bool:
    """Return whether the path still names an open file."""
    try:
        return os.path.samestat(Path(path).lstat(), os.fstat(file))
    except OSError:
        return False


def _open(path: str) -> int | None:
    """Open a file that belongs to this user alone, and share it with other processes; None when there is none.

    It stays open while it is used: to close it would drop all locks of the process.
    """
    for _ in range(_OPENINGS if path else 0):
        file = _open_private(path)
        if file is None:
            return None
        try:
            # Another process may have taken the file away between its opening and its lock.
            if _try_lock(file, _USERS, shared=True) and _is_in_place(file, path):
                return file
        except OSError:  # a file system without locks
            return file
        os.close(file)
        time.sleep(0.001)
    return None


def _open_private(path: str) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        log.debug("Processes do not share what they know of the throttle: %s", error)
        return None
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return file
    log.debug("Processes do not share what they know of the throttle: %s is not this user's alone", path)
    os.close(file)
    return None


_of_user: dict[str, HostThrottle] = {}
_opening = threading.Lock()


def host_throttle_of(settings: Settings) -> HostThrottle:
    """Return the host's part of the throttle of a connection's user.

    :param settings: the connection
    """
    user = settings.client_id or settings.managed_identity_client_id
    digest = blake2b(f"{settings.base_url}\n{user}".encode(), digest_size=16).hexdigest()
    try:
        path = f"{tempfile.gettempdir()}/cij-throttle-{os.geteuid()}-{digest}" if fcntl else ""
    except FileNotFoundError:  # there is no folder that can be written to
        path = ""
    with _opening:
        if path not in _of_user:
            _of_user[path] = HostThrottle(path)
        return _of_user[path]


def _forget() -> None:
    """Begin anew in a forked process, which has no locks and no requests."""
    global _opening  # another thread may have held it
    _opening = threading.Lock()
    _of_user.clear()


if fcntl:
    os.register_at_fork(after_in_child=_forget)
