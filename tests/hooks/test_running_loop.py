"""Calling the synchronous hook where an event loop is running: a notebook, an async test."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from airflow_provider_cij.errors import CijNotFoundError, CijStoppedError
from airflow_provider_cij.hooks.cij import CijHook
from tests.scripted import Answer


@pytest.fixture
def hook(scripted, monkeypatch) -> CijHook:
    """Return a hook on the scripted server."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = [Answer(body={"a": 1})]
    return CijHook()


def _in_a_loop(work):
    async def main():
        return work()

    return asyncio.run(main())


def test_run_works_within_a_running_loop(hook, scripted):
    """``run`` within a running event loop returns results and raises errors as elsewhere."""
    assert _in_a_loop(lambda: hook.run(lambda cij: cij.dataverse.get("WhoAmI"))) == {"a": 1}
    scripted.script = [Answer(404)]
    with pytest.raises(CijNotFoundError):
        _in_a_loop(lambda: hook.run(lambda cij: cij.dataverse.get("WhoAmI")))


@pytest.mark.parametrize("where", [_in_a_loop, lambda work: work()])
def test_stop_ends_run_from_another_thread(hook, where):
    """``stop`` from another thread ends ``run``, with and without a running event loop."""
    begun = threading.Event()

    async def wait(cij):
        begun.set()
        await asyncio.sleep(60)

    def stop():
        begun.wait(5)
        hook.stop()

    threading.Thread(target=stop).start()
    started = time.monotonic()
    with pytest.raises(CijStoppedError):
        where(lambda: hook.run(wait))
    assert time.monotonic() - started < 30


def test_a_signal_interrupts_run_within_a_running_loop(hook):
    """An exception from a signal handler in the waiting thread cancels the work in the other thread."""
    ended = threading.Event()
    main_thread = threading.get_ident()

    async def wait(cij):
        threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGALRM)).start()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    def alarm(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        with pytest.raises(KeyboardInterrupt):
            _in_a_loop(lambda: hook.run(wait))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended.is_set()
    assert hook._client is None
