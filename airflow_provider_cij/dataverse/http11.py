"""One exchange of HTTP/1.1 on a socket: h11's events, sent and received."""

from __future__ import annotations

from typing import Any

import h11

from airflow_provider_cij.dataverse.stream import Stream

# Bytes of a response's headers, at most.
_LARGEST_HEAD = 100 * 2**10


def new_http() -> h11.Connection:
    """Return the state of a new connection."""
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)


async def next_event(http: h11.Connection, stream: Stream) -> Any:
    """Return the next event of HTTP that was received.

    :param http: the state of the exchange
    :param stream: the socket
    :raises h11.RemoteProtocolError: what was received is no HTTP, or is not complete
    :raises OSError: the socket broke
    """
    while (event := http.next_event()) is h11.NEED_DATA:
        received = await stream.read()
        if not received and http.their_state is h11.SEND_RESPONSE:
            raise ConnectionResetError("the server closed the connection without a response")
        http.receive_data(received)
    return event


async def response_to(http: h11.Connection, stream: Stream, request: h11.Request, content: bytes | None) -> Any:
    """Send a request, and return the head of its final response.

    :param http: the state of the exchange
    :param stream: the socket
    :param request: the request's head
    :param content: its body, None for none
    :raises h11.LocalProtocolError: the request can't be sent
    :raises h11.RemoteProtocolError: what was received is no HTTP
    :raises OSError: the socket broke
    """
    events = (request, *((h11.Data(content),) if content else ()), h11.EndOfMessage())
    stream.write(b"".join(http.send(event) or b"" for event in events))
    while isinstance(event := await next_event(http, stream), h11.InformationalResponse):
        pass
    return event
