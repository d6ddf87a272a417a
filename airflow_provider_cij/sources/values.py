"""Members given as values, and the conversion of an operator's ``members`` into a source."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources.base import ROWS, InThread, Source

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.id_list import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient


class FromValues:
    """Members given as values: a list, a set, a generator.

    :param values: ids, or rows of one column as SQL operators return them; lines count from 1
    """

    def __init__(self, values: Iterable[object]) -> None:
        self.values = values

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Yield the rows in chunks: their line numbers, and the values.

        :param client: the task's open client; not used
        """
        # Another task's output is fetched by blocking calls.
        async with aclosing(InThread(self._parts(), "FromValues")) as parts:
            async for part in parts:
                yield part

    def _parts(self) -> Generator[Chunk, None, None]:
        values, first = iter(self.values), 1
        while part := list(islice(values, ROWS)):
            if isinstance(part[0], (list, tuple)):
                part = [row[0] if isinstance(row, (list, tuple)) and len(row) == 1 else row for row in part]
            yield range(first, first + len(part)), part
            first += len(part)

    def __repr__(self) -> str:
        # Shown as the rendered template: the count, never the ids.
        return f"{len(self.values)} values" if isinstance(self.values, Sequence) else type(self.values).__name__


class Private:
    """A field whose value the UI must not show, such as a person's id.

    Airflow stores the text of a rendered field, also in the serialized DAG. This one's text does not hold the value.

    :param value: the field as given (templated)
    """

    template_fields = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "not shown"


def private(value: Any) -> Any:
    """Return a field whose value the UI must not show; None, and what Airflow resolves later, stay as they are.

    :param value: the field as given, or as rendered
    """
    return value if value is None or isinstance(value, Private) or hasattr(value, "resolve") else Private(value)


def revealed(value: Any) -> Any:
    """Return the value of a field.

    :param value: the field, private or not
    """
    return value.value if isinstance(value, Private) else value


def as_source(members: Any) -> Any:
    """Return an iterable as a source, a source unchanged, and anything else as a private field.

    A template stays templated. The UI must not show the ids that it renders to.

    :param members: the field as given, or as rendered
    """
    if isinstance(members, Source) or hasattr(members, "resolve"):
        return members
    plain = isinstance(members, Iterable) and not isinstance(members, (str, bytes, dict))
    return FromValues(members) if plain else private(members)


def checked(members: Any) -> Source:
    """Return the source that the rendered ``members`` are.

    :param members: the rendered field
    :raises CijInputError: they are no source
    """
    found = as_source(revealed(members))
    if isinstance(found, Source):
        return found
    raise CijInputError(
        f"members is a {type(revealed(found)).__name__}.",
        hint="Give a list of ids, another task's output, FromFile(…), FromSql(…) or FromDataverse(…).",
    )
