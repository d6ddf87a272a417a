"""Members given as values, and the conversion of an operator's ``members`` into a source."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from inspect import signature
from itertools import islice
from typing import Any, TypeVar

from airflow_provider_cij._arguments import is_template
from airflow_provider_cij.dataverse.values import kind_of
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources.base import ROWS, Shape, Source, Streaming, WholeRows, shaped_objects
from airflow_provider_cij.sources.dataverse import FromDataverse
from airflow_provider_cij.sources.file import FromFile
from airflow_provider_cij.sources.sql import FromSql

T = TypeVar("T")

_PLAIN = {kind.plain_key: kind for kind in (FromFile, FromSql, FromDataverse)}
_NO_LIST = (str, bytes, bytearray, memoryview, Mapping)


class FromValues(Streaming):
    """Members given as values: a list, a set, a generator. Or whole rows, given as dicts.

    The output of a mapped task is what its instances returned, and may be lists: it is read as one list. Lines are the
    values' numbers, from 1.

    :param values: ids, rows of one column as SQL operators return them, or dicts
    :param column: the key of the dicts that holds the ids. Default None, the values are ids
    """

    def __init__(self, values: Iterable[object], column: str | None = None) -> None:
        self.values = values
        self.column = column
        # Each text of a list would be rendered: only lists with templates in them are.
        if isinstance(values, (list, tuple)) and is_template(values):
            self.template_fields = ("values",)

    def _where(self) -> str:
        return "The list of values"

    def _pages(self, shape: Shape[T]) -> Generator[tuple[Sequence[int], list[T]], None, None]:
        if self.column is not None or isinstance(shape, WholeRows):
            yield from shaped_objects(shape, self._objects())
            return
        for lines, part in self._parts():
            if isinstance(part[0], (list, tuple)):
                part = [row[0] if isinstance(row, (list, tuple)) and len(row) == 1 else row for row in part]
            yield lines, shape.shaped(lines, ["values"], [part])

    def _objects(self) -> Generator[tuple[Sequence[int], list[Any]], None, None]:
        for lines, part in self._parts():
            for line, row in zip(lines, part, strict=True):
                if not isinstance(row, Mapping):
                    raise CijInputError(
                        f"{self._where()}, line {line}: {kind_of(row)}.", hint="Give a dict for each row."
                    )
            yield lines, part

    def _parts(self) -> Generator[tuple[Sequence[int], list[Any]], None, None]:
        values, first = self._flat(), 1
        while part := list(islice(values, ROWS)):
            yield range(first, first + len(part)), part
            first += len(part)

    def _flat(self) -> Iterator[object]:
        # Airflow gives the output of a mapped task as a lazy sequence. Within a list, a list may be a row of columns,
        # unless it is what a template within the list has become.
        plain = not isinstance(self.values, Sequence) or isinstance(self.values, (list, tuple))
        if plain and not self.template_fields:
            yield from self.values
            return
        for value in self.values:
            if isinstance(value, (list, tuple, AbstractSet)):
                yield from value
            else:
                yield value

    def __repr__(self) -> str:
        # Shown as the rendered template: the count, never the ids.
        return f"{len(self.values):,} values" if isinstance(self.values, Sequence) else type(self.values).__name__


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

    :param members: the field as given, or as rendered; a dict is what ``as_dict`` of a source returned
    :raises CijInputError: a dict that describes a source has an unknown argument
    """
    if isinstance(members, Source) or hasattr(members, "resolve"):
        return members
    if isinstance(members, Mapping) and (key := next((key for key in _PLAIN if key in members), None)):
        return _from_dict(_PLAIN[key], key, members)
    # Of a data frame, the names of the columns would be read.
    plain = isinstance(members, Iterable) and not isinstance(members, _NO_LIST) and not hasattr(members, "columns")
    return FromValues(members) if plain else private(members)


def _from_dict(kind: Any, key: str, plain: Mapping[str, Any]) -> Any:
    given = {name: value for name, value in plain.items() if name != key}
    try:
        return kind(plain[key], **given)
    except TypeError:
        known = ", ".join(signature(kind).parameters)
        what = f"members is a dict for {kind.__name__} with the keys {', '.join(map(repr, plain))}"
        raise CijInputError(f"{what}.", hint=f"Its arguments are {known}.") from None


def checked(value: Any, name: str = "members", lists: str = "ids") -> Source:
    """Return the source that a rendered argument is.

    :param value: the argument
    :param name: its name, for the error; default ``members``
    :param lists: what a list may hold, for the error; default ``ids``
    :raises CijInputError: it is no source
    """
    found = as_source(revealed(value))
    if isinstance(found, Source):
        return found
    hint = f"Give a list of {lists}, another task's output, FromFile(…), FromSql(…) or FromDataverse(…)."
    raise CijInputError(f"{name} is a {type(revealed(found)).__name__}.", hint=hint)
