"""What the stack stands on: PostgreSQL, Redis and an S3-like store, and proxies that can be away."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Proxy:
    """A TCP port that leads to a server. While it is away, it refuses connections and has dropped those that it had.

    :param target: the server's port on this machine, or the path of its socket
    """

    def __init__(self, target: int | Path) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.back()

    def back(self) -> None:
        """Take connections."""
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(10)

    def away(self, seconds: float) -> None:
        """Be away for some seconds."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        time.sleep(seconds)
        self.back()

    async def _begin(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _end(self) -> None:
        if self._server:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._target, int):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        else:
            there, back = await asyncio.open_unix_connection(self._target)
        self._open |= {writer, back}
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._open -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.transport.abort() if writer.transport.is_closing() else writer.close()


@contextmanager
def redis(folder: Path) -> Iterator[Path]:
    """Start Redis; yield the path of its socket."""
    executable = shutil.which("redis-server")
    if executable is None:
        raise SystemExit("There is no redis-server: install Debian's redis-server, or another package that has it.")
    path = folder / "redis.sock"
    command = [executable, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 20
        while not path.exists():
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError("Redis does not start.")
            time.sleep(0.05)
        yield path
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def store() -> Iterator[str]:
    """Start an S3-like server with the bucket ``marketing``; yield its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        address = f"http://{host}:{port}"
        files(address).mkdir("marketing")
        yield address
    finally:
        server.stop()


def files(address: str) -> Any:
    """Return the file system of the S3-like server."""
    import s3fs

    return s3fs.S3FileSystem(key="a", secret="b", endpoint_url=address, use_listings_cache=False)
