"""Connect to the first of a host's addresses that answers (RFC 8305)."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterable
from typing import Any

# Seconds after which the next address is tried beside those before (RFC 8305, 5).
_NEXT_ADDRESS = 0.25


async def connected_socket(host: str, port: int) -> socket.socket:
    """Connect to a host; leave no socket open that is not returned, whenever this is cancelled.

    asyncio's ``create_connection`` loses the socket that has connected when it is cancelled just then.

    :param host: its name or address
    :param port: its port
    :return: the socket, which does not block
    :raises OSError: there is no such host, or none of its addresses answers
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = iter(_by_turns(found))
    errors: list[BaseException] = []
    tries: set[asyncio.Task[socket.socket]] = set()
    won = None
    try:
        while won is None:
            if address := next(addresses, None):
                tries.add(asyncio.create_task(_connect(*address)))
            elif not tries:
                raise _of_all(errors)
            waited = _NEXT_ADDRESS if address else None
            ended, _ = await asyncio.wait(tries, timeout=waited, return_when=asyncio.FIRST_COMPLETED)
            failed = {one: error for one in ended if (error := one.exception())}
            errors += failed.values()
            tries -= failed.keys()
            won = next(iter(ended - failed.keys()), None)
        tries.remove(won)
        return won.result()
    finally:
        # Nothing is awaited here: a cancellation would lose the socket that is returned.
        for one in tries:
            # A try that is cancelled in time closes its socket by itself, at the next turn of the event loop.
            if not one.cancel() and not one.cancelled() and not one.exception():
                one.result().close()


async def _connect(family: int, kind: int, protocol: int, _: str, address: Any) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _by_turns(addresses: Iterable[Any]) -> list[Any]:
    """Return addresses in their order, but one of IPv6 and one of IPv4 in turn (RFC 8305, 4)."""
    families: dict[int, list[Any]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [one for turn in itertools.zip_longest(*families.values()) for one in turn if one]


def _of_all(errors: list[BaseException]) -> BaseException:
    """Return one error for those of all addresses."""
    texts = list(dict.fromkeys(map(str, errors)))
    return errors[0] if len(texts) == 1 else OSError("; ".join(texts) or "the host has no address")
