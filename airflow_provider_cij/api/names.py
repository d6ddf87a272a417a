"""Find a segment or journey by the name that people see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.dataverse.odata import literal, query
from airflow_provider_cij.errors import CijInputError, CijNotFoundError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_SHOWN = 10


async def id_of_name(
    client: DataverseClient,
    name: str,
    *,
    what: str,
    entity_set: str,
    id_column: str,
    name_column: str,
    where: str = "",
    obsolete: Callable[[Mapping[str, Any]], bool] | None = None,
) -> str:
    """Return the id of the only row with a name.

    :param client: open
    :param name: the name, compared as the service does: in any case
    :param what: what the rows are, for the error, such as ``segment``
    :param entity_set: the table's name in URLs
    :param id_column: the primary key
    :param name_column: the column that holds the name
    :param where: an OData filter that the row must meet as well; default none
    :param obsolete: True of a row, with all its columns, that does not count beside others; default: all count
    :raises CijNotFoundError: no row has the name
    :raises CijInputError: several rows have it; the error lists their ids
    """
    condition = f"{name_column} eq {literal(name)}" + (f" and {where}" if where else "")
    path = query(entity_set, select=(id_column, name_column), where=condition, top=_SHOWN + 1)
    rows = await client.rows(path)
    if len(rows) > 1 and obsolete:
        # Not every organisation has the columns that say so: they can't be selected.
        whole = await client.rows(query(entity_set, where=condition, top=_SHOWN + 1))
        rows = [row for row in whole if not obsolete(row)] or rows
    ids = sorted(str(row[id_column]) for row in rows)
    if not ids:
        raise CijNotFoundError(f"There is no {what} named {name!r}.", hint="Is it spelt as in Dynamics 365?")
    if len(ids) > 1:
        more = " and others" if len(ids) > _SHOWN else ""
        raise CijInputError(
            f"{what.capitalize()} name {name!r} is not unique: {', '.join(ids[:_SHOWN])}{more} have it.",
            hint="Give the id, or rename the others.",
        )
    return ids[0]
