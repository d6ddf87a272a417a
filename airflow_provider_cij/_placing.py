"""Put a local file in its place in one step: whole, with the mode of the file it replaces, and without leftovers."""

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


def refusal(path: Path) -> str:
    """Return why a path can't be written to, ``""`` when it can, as far as can be told without writing.

    :param path: a file, a link to one, or nothing yet
    """
    try:
        target = real(path)
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


def real(path: Path) -> Path:
    """Follow links to what is to be replaced: a file, or a name where nothing is yet.

    :raises OSError: links lead in a circle, or no file can have this name
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    # What /proc/self/fd names need not have a path of its own.
    return Path(os.path.realpath(path)) if stat.S_ISREG(kind) else path


@contextmanager
def placed(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when the ``with`` ends well, in place of an older one.

    Until then it lies beside its target, readable by its owner alone. The part of an earlier try that was killed is
    removed; one that a live task writes is locked, and stays.

    :param path: where to; links are followed
    :raises OSError: it can't be written
    """
    target = real(path)
    digest = blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    for leftover in target.parent.glob(f".cij-{digest}-*.part"):
        _remove_dead(leftover)
    older = _stat_of(target)
    with _locked(target.with_name(f".cij-{digest}-{uuid.uuid4().hex}.part"), new=older is None) as (part, file, mode):
        try:
            yield file
            file.flush()
            if trouble := refusal(target):
                raise OSError(f"{trouble} by now")
            _dress(file.fileno(), older, mode)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _locked(part: Path, *, new: bool) -> Iterator[tuple[Path, IO[bytes], int]]:
    """Create a part, lock it, and give the mode that a new file has here by umask or the folder's default."""
    # A new file's part is empty while it has the mode that the whole file will have in the end.
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if new else 0o600)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        with suppress(OSError):  # a file system without locks: a leftover stays there then
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


def _dress(handle: int, older: os.stat_result | None, mode: int) -> None:
    """Set a part's owner and mode to those of the file it replaces, or a new file's mode."""
    if older is None:
        os.fchmod(handle, mode)
        return
    mine = os.fstat(handle)
    if (mine.st_uid, mine.st_gid) != (older.st_uid, older.st_gid):
        try:
            os.fchown(handle, older.st_uid, older.st_gid)
        except OSError:  # only root gives files away
            with suppress(OSError):
                os.fchown(handle, -1, older.st_gid)
    os.fchmod(handle, stat.S_IMODE(older.st_mode))


def _remove_dead(leftover: Path) -> None:
    """Remove a part that nobody has locked."""
    try:
        handle = os.open(leftover, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone, or not ours
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink(missing_ok=True)
    except OSError:  # a live task writes it, or locks are unknown here
        pass
    finally:
        os.close(handle)


def _stat_of(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
