"""Run a coroutine from sync code, also where an event loop already runs."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Seconds that the coroutine has to end after an interrupt.
_LAST_SECONDS = 5.0


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run_anywhere(main: Callable[[], Coroutine[Any, Any, T]], stop: Callable[[], None]) -> T:
    """Run a coroutine function to its end, in a thread of its own where an event loop already runs.

    A notebook and an async test run a loop; a second one can't run in its thread.

    :param main: the coroutine function
    :param stop: called to end it when the calling thread is interrupted while it waits
    :return: what the coroutine returns
    """
    if not _is_loop_running():  # not in an except block: its error would be the context of every other
        return asyncio.run(main())
    returned: list[T] = []
    failed: list[BaseException] = []
    # An interrupted Thread.join counts the thread as ended (Python 3.11).
    done = threading.Event()

    def work() -> None:
        try:
            returned.append(asyncio.run(main()))
        except BaseException as error:  # re-raised in the calling thread
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="cij", daemon=True)
    thread.start()
    try:
        done.wait()
    except BaseException:
        stop()
        done.wait(_LAST_SECONDS)
        raise
    if failed:
        raise failed[0]
    return returned[0]
