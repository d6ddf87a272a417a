"""Running a coroutine from sync code, wherever that is called."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_LAST_SECONDS = 5.0


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run_anywhere(main: Callable[[], Coroutine[Any, Any, T]], stop: Callable[[], None]) -> T:
    """Run a coroutine function to its end.

    A loop that runs already can't run another one in its thread (a notebook, an async test): then a thread does.

    :param main: what to run
    :param stop: ends it, when whoever waits for the thread is interrupted
    """
    if not _loop_runs():  # not in the handler: its error would be the context of every other
        return asyncio.run(main())
    given: list[T] = []
    failed: list[BaseException] = []
    # An interrupted Thread.join takes the thread for ended (Python 3.11).
    done = threading.Event()

    def work() -> None:
        try:
            given.append(asyncio.run(main()))
        except BaseException as error:  # raised again where it is waited for
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
    return given[0]
