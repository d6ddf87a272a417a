"""Write a local file atomically: it appears whole, with the mode of the file it replaces, and without leftovers."""

from __future__ import annotations

import fcntl
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO


def why_not_writable(path: Path) -> str:
    """Return why a path can't be written to, as far as that can be found out without writing.

    :param path: a file, a link to a file, or a name where nothing is yet
    :return: the reason, ``""`` when it can be written to
    """
    try:
        target = resolve(path)
        kind = target.stat().st_mode
    except FileNotFoundError:
        parent = target.parent if path.is_symlink() else path.parent
        return "" if parent.is_dir() else f"there is no folder {str(parent)!r}"
    except NotADirectoryError:
        return f"there is no folder {str(path.parent)!r}"
    except (OSError, ValueError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISDIR(kind):
        return "it is a folder"
    return "" if stat.S_ISREG(kind) else "it is a device, a pipe or a socket"


def resolve(path: Path) -> Path:
    """Return the path that would be replaced, links followed: a file, or a name where nothing is yet.

    :param path: a path, or a link
    :raises OSError: links form a cycle, or no file can have this name
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    # A file that /proc/self/fd names need not have a path.
    return Path(os.path.realpath(path)) if stat.S_ISREG(kind) else path


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when the ``with`` ends without an exception, replacing an older one.

    Until then it is a part file beside its target, readable by its owner alone. The part file of an earlier attempt
    that was killed is removed; one that a running task writes is locked, and kept.

    :param path: the file; links are followed
    :return: the open file, for one ``with``
    :raises OSError: the file can't be written
    """
    target = resolve(path)
    digest = blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    for leftover in target.parent.glob(f".cij-{digest}-*.part"):
        _remove_dead(leftover)
    older = _stat_of(target)
    with _locked(target.with_name(f".cij-{digest}-{uuid.uuid4().hex}.part"), new=older is None) as (part, file, mode):
        try:
            yield file
            file.flush()
            if reason := why_not_writable(target):
                raise OSError(f"{reason} by now")
            _copy_owner(file.fileno(), older, mode)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _locked(part: Path, *, new: bool) -> Iterator[tuple[Path, IO[bytes], int]]:
    """Create a part file, lock it, and return the mode that a new file has here, by umask or the folder's default."""
    # The part file of a new file is still empty while it has the mode of the complete file.
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if new else 0o600)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        with suppress(OSError):  # a file system without locks: there a leftover stays
            fcntl.flock(handle, fcntl.LOCK_EX)
        os.fchmod(handle, 0o600)
        if _stat_of(part) is None:  # another task took it for a leftover before it was locked
            raise OSError("another task writes the same file; try again")
    except BaseException:
        os.close(handle)
        part.unlink(missing_ok=True)
        raise
    with os.fdopen(handle, "w+b") as file:
        yield part, file, mode


def _copy_owner(handle: int, older: os.stat_result | None, mode: int) -> None:
    """Set a part file's owner and mode to those of the file it replaces, or the mode of a new file."""
    if older is None:
        os.fchmod(handle, mode)
        return
    mine = os.fstat(handle)
    if (mine.st_uid, mine.st_gid) != (older.st_uid, older.st_gid):
        try:
            os.fchown(handle, older.st_uid, older.st_gid)
        except OSError:  # only root may change a file's owner
            with suppress(OSError):
                os.fchown(handle, -1, older.st_gid)
    os.fchmod(handle, stat.S_IMODE(older.st_mode))


def _remove_dead(leftover: Path) -> None:
    """Remove a part file that no process has locked."""
    try:
        handle = os.open(leftover, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # removed meanwhile, or another user's
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink(missing_ok=True)
    except OSError:  # a running task writes it, or the file system has no locks
        pass
    finally:
        os.close(handle)


def _stat_of(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
