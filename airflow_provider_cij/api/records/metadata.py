"""Read the definition of a table: its keys and columns, and the tables that its lookups refer to.

Source: Dataverse docs, "Query table definitions using the Web API".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.records.values import ColumnType
from airflow_provider_cij.dataverse.odata import literal, query
from airflow_provider_cij.errors import CijInputError, CijNotFoundError, CijRefusedError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_CHOICES = ("Picklist", "State", "Status", "MultiSelectPicklist")
# Further properties of the columns of each type.
_MORE = {
    "String": ("MaxLength",),
    "Memo": ("MaxLength",),
    "Integer": ("MinValue", "MaxValue"),
    "Decimal": ("MinValue", "MaxValue", "Precision"),
    "Money": ("MinValue", "MaxValue", "Precision"),
    "Double": ("MinValue", "MaxValue", "Precision"),
    "DateTime": ("DateTimeBehavior",),
}


@dataclass(frozen=True)
class TableInfo:
    """A table.

    :param name: the logical name
    :param entity_set: the entity set name, used in URLs
    :param id_column: the primary key column
    :param keys: alternate keys by name: their columns, and the status of their index
    """

    name: str
    entity_set: str
    id_column: str
    keys: Mapping[str, tuple[frozenset[str], str]]


@dataclass(frozen=True)
class Reference:
    """The binding of a lookup to a table.

    :param column: the lookup's logical name
    :param navigation: the navigation property, by which the lookup is written
    :param target: the table that it refers to
    """

    column: str
    navigation: str
    target: TableInfo


class Metadata:
    """Reads and caches the definitions of tables.

    :param client: an open client
    """

    def __init__(self, client: DataverseClient) -> None:
        self._client = client
        self._tables: dict[str, TableInfo] = {}
        self._types: dict[str, dict[str, ColumnType]] = {}
        self._complete: set[tuple[str, str]] = set()
        self._references: dict[str, list[dict[str, Any]]] = {}

    async def table(self, name: str) -> TableInfo:
        """Return the definition of a table.

        :param name: the table's logical name
        :raises CijInputError: there is no such table
        """
        if name not in self._tables:
            keys = "Keys($select=LogicalName,KeyAttributes,EntityKeyIndexStatus)"
            select = ("LogicalName", "EntitySetName", "PrimaryIdAttribute")
            try:
                found = await self._client.get(query(_path(name), select=select, expand=keys))
            except CijNotFoundError:
                raise CijInputError(f"The organisation has no table {name!r}.") from None
            self._tables[name] = TableInfo(
                name, str(found.get("EntitySetName")), str(found.get("PrimaryIdAttribute")), _keys(found.get("Keys"))
            )
        return self._tables[name]

    async def columns(self, table: str, names: Iterable[str]) -> dict[str, ColumnType]:
        """Return columns of a table, with the limits of their values.

        :param table: the table's logical name
        :param names: the columns' logical names
        :raises CijInputError: the table lacks one of them
        """
        if table not in self._types:
            select = ("LogicalName", "AttributeType", "IsValidForCreate", "IsValidForUpdate")
            rows = await self._rows(query(f"{_path(table)}/Attributes", select=select))
            self._types[table] = {
                str(row.get("LogicalName")): ColumnType(
                    str(row.get("LogicalName")),
                    _type(row),
                    row.get("IsValidForCreate") is not False,
                    row.get("IsValidForUpdate") is not False,
                )
                for row in rows
            }
        known = self._types[table]
        if unknown := [name for name in names if name not in known]:
            raise CijInputError(
                f"The table {table!r} has no column {', '.join(map(repr, unknown))}.",
                hint='Map the columns of your rows: columns={"name in the rows": "logical name"}.',
            )
        kinds = {known[name].type for name in names}
        await for_each(kinds, lambda kind: self._complete_type(table, kind), self._client.recommended_concurrency)
        return {name: self._types[table][name] for name in names}

    async def reference(self, table: str, column: str, target: str) -> Reference:
        """Return the binding of a lookup.

        :param table: the table's logical name
        :param column: the lookup's logical name
        :param target: the logical name of the table that it refers to
        :raises CijInputError: the lookup refers to other tables only
        """
        if table not in self._references:
            select = ("ReferencingAttribute", "ReferencedEntity", "ReferencingEntityNavigationPropertyName")
            self._references[table] = await self._rows(query(f"{_path(table)}/ManyToOneRelationships", select=select))
        names = {
            str(row.get("ReferencedEntity")): str(row.get("ReferencingEntityNavigationPropertyName"))
            for row in self._references[table]
            if row.get("ReferencingAttribute") == column
        }
        if target not in names:
            listed = ", ".join(map(repr, sorted(names))) or "no table"
            raise CijInputError(f"Column {column!r} refers to {listed}, not to {target!r}.")
        return Reference(column, names[target], await self.table(target))

    async def _complete_type(self, table: str, kind: str) -> None:
        """Read the limits of the values of all columns of a type."""
        if (table, kind) in self._complete or (kind not in _MORE and kind not in _CHOICES):
            return
        expand = "OptionSet($select=Options)" if kind in _CHOICES else ""
        path = f"{_path(table)}/Attributes/Microsoft.Dynamics.CRM.{kind}AttributeMetadata"
        rows = await self._rows(query(path, select=("LogicalName", *_MORE.get(kind, ())), expand=expand))
        types = self._types[table]
        for row in rows:
            name = str(row.get("LogicalName"))
            if name in types:
                types[name] = _completed(types[name], row)
        self._complete.add((table, kind))

    async def _rows(self, path: str) -> list[dict[str, Any]]:
        try:
            return await self._client.all_rows(path)
        except CijRefusedError as error:
            error.hint = error.hint or "Reading the definitions of tables is part of every security role."
            raise


def _path(table: str) -> str:
    return f"EntityDefinitions(LogicalName={literal(table)})"


def _type(row: Mapping[str, Any]) -> str:
    """Return the type of a column. ``Virtual`` is the type of several, told apart by their class."""
    kind = str(row.get("@odata.type") or "").removeprefix("#Microsoft.Dynamics.CRM.").removesuffix("AttributeMetadata")
    return "MultiSelectPicklist" if kind == "MultiSelectPicklist" else str(row.get("AttributeType"))


def _keys(rows: Any) -> dict[str, tuple[frozenset[str], str]]:
    return {
        str(row.get("LogicalName")): (frozenset(row.get("KeyAttributes") or ()), str(row.get("EntityKeyIndexStatus")))
        for row in rows or ()
    }


def _completed(column: ColumnType, row: Mapping[str, Any]) -> ColumnType:
    options = (row.get("OptionSet") or {}).get("Options") or ()
    behavior = row.get("DateTimeBehavior")
    behavior = behavior.get("Value") if isinstance(behavior, Mapping) else behavior
    return ColumnType(
        column.name,
        column.type,
        column.creatable,
        column.updatable,
        max_length=row.get("MaxLength"),
        minimum=row.get("MinValue"),
        maximum=row.get("MaxValue"),
        precision=row["Precision"] if isinstance(row.get("Precision"), int) else column.precision,
        date_only=behavior == "DateOnly",
        options={int(option["Value"]): _labels(option.get("Label") or {}) for option in options},
    )


def _labels(label: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels of an option in all languages."""
    found = [label.get("UserLocalizedLabel") or {}, *(label.get("LocalizedLabels") or ())]
    return tuple({str(each["Label"]): None for each in found if each.get("Label")})
