"""Errors without the service's words, which may repeat an address."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from airflow_provider_cij.errors import CijError, CijForbiddenError, CijServerError, CijUnavailableError

T = TypeVar("T")


async def private(what: str, work: Awaitable[T]) -> T:
    """Await work, and raise its error without the service's words.

    :param what: what is done, for the error
    :param work: a coroutine that sends requests with addresses in them
    :return: what the work returns
    :raises CijError: the work failed; the error keeps its class, code and request id
    """
    failure: CijError
    try:
        return await work
    except (CijForbiddenError, CijUnavailableError):
        raise  # these name a privilege or a table
    except CijError as error:
        if error.http_status is None and not isinstance(error, CijServerError):
            raise  # our own words
        failure = error
    # Out of the handler: the service's words must not come along as its context.
    message = f"{what} failed. The service's words are withheld: they may repeat an address."
    raise CijError.from_dict(failure.as_dict() | {"message": message})
