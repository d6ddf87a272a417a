"""What EntityDefinitions says below one table: columns, keys, lookups ("Query table definitions using the Web API").

Assumptions: text of 2,000 characters and more is a memo; money has two decimals; every column is optional.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Column, Kind, Schema, Table
from cij_sandbox.core.web import Answer, Request, options_of
from cij_sandbox.dataverse.keys import AlternateKey, Keys
from cij_sandbox.dataverse.metadata_ids import stable_id

Shown = dict[str, object]
COLLECTIONS = ("Attributes", "Keys", "ManyToOneRelationships", "OneToManyRelationships")
_PATH = re.compile(
    r"(\w+)(?:\((?:LogicalName='([^']*)'|([0-9a-fA-F-]{36}))\))?(?:/Microsoft\.Dynamics\.CRM\.(\w+)AttributeMetadata)?(?:/(OptionSet))?"
)
_EXPANSION = re.compile(r"(\w+)(?:\(\$select=([\w,]*)\))?")
_TYPES = {
    Kind.GUID: "Uniqueidentifier",
    Kind.STRING: "String",
    Kind.INTEGER: "Integer",
    Kind.BIGINT: "BigInt",
    Kind.DECIMAL: "Money",
    Kind.BOOLEAN: "Boolean",
    Kind.DATETIME: "DateTime",
    Kind.DATE: "DateTime",
}
_MEMO_LENGTH = 2000
# What each type of column has beside the properties of all; "OptionSet" is expanded.
_CASTS = {
    "String": ("MaxLength", "Format"),
    "Memo": ("MaxLength", "Format"),
    "Integer": ("MinValue", "MaxValue"),
    "BigInt": (),
    "Money": ("MinValue", "MaxValue", "Precision"),
    "DateTime": ("Format", "DateTimeBehavior"),
    "Lookup": ("Targets",),
    "Picklist": ("OptionSet",),
    "State": ("OptionSet",),
    "Status": ("OptionSet",),
    "Boolean": ("OptionSet",),
    "Uniqueidentifier": (),
}


def below_table(table: Table, path: str, request: Request, schema: Schema, keys: Keys) -> Answer:
    """Return the answer for a path that follows ``EntityDefinitions(LogicalName='…')/``."""
    match = _PATH.fullmatch(path)
    if match is None or match[1] not in COLLECTIONS or (match[4] and match[1] != "Attributes"):
        raise errors.not_implemented(f"'{path}' below EntityDefinitions")
    collection, name, cast = match[1], match[2], match[4]
    if match[3]:
        whole = collected(collection, table, schema, keys, "")
        name = next((name for name, one in whole.items() if one["MetadataId"] == match[3].lower()), match[3])
    if request.method in ("POST", "DELETE") and collection == "Keys" and not cast:
        return _write_key(table, name, request, keys)
    if request.method != "GET":
        raise errors.wrong_method(request.method, "GET")
    options = options_of(request.query)
    shown = collected(collection, table, schema, keys, options.pop("$select", ""), options.pop("$expand", ""), cast)
    for option in options:
        raise errors.not_implemented(f"the query option '{option}' below EntityDefinitions")
    context = f"{request.context}EntityDefinitions('{table.logical_name}')/{path}"
    if name is None:
        return Answer(200, {"@odata.context": context, "value": list(shown.values())})
    if name not in shown:
        raise errors.ODataError(404, "0x80060888", f"Could not find '{name}' in {collection}.")
    found = shown[name]
    if match[5]:
        options_found = found.get("OptionSet")
        found = options_found if isinstance(options_found, dict) else {}
    return Answer(200, {"@odata.context": f"{context}/$entity", **found})


def collected(
    collection: str, table: Table, schema: Schema, keys: Keys, select: str, expand: str = "", cast: str | None = None
) -> dict[str, Shown]:
    """Return the members of a collection by name, with the properties that are selected and expanded."""
    selected = tuple(name.strip() for name in select.split(",") if name.strip())
    if collection == "Keys":
        whole = {key.name: _key(table, key) for key in keys.of(table)}
    elif collection == "ManyToOneRelationships":
        whole = {c.name: _relationship(table, c, schema) for c in table.columns if c.navigation}
    elif collection == "OneToManyRelationships":
        whole = {
            f"{other.logical_name}.{c.name}": _relationship(other, c, schema)
            for other in schema.tables
            for c in other.columns
            if c.navigation and c.target == table.logical_name
        }
    else:
        if cast is not None and cast not in _CASTS:
            raise errors.not_implemented(f"columns of the type {cast}AttributeMetadata")
        whole = {c.name: _column(table, c) for c in table.columns if cast in (None, _cast(c))}
        own = _CASTS[cast] if cast else ()
        expanded = tuple(match[1] for match in _EXPANSION.finditer(expand))
        for name in (*selected, *expanded):
            if name in {each for names in _CASTS.values() for each in names} - set(own):
                raise errors.undeclared_in_query("AttributeMetadata", name)
        if expanded not in ((), ("OptionSet",)):
            raise errors.not_implemented(f"$expand={expand} on Attributes")
        selected = (*selected, *expanded) if selected else ()
        for properties in whole.values():
            if not expanded:
                properties.pop("OptionSet", None)
    return {name: _only(selected, properties, collection) for name, properties in whole.items()}


def _only(selected: tuple[str, ...], properties: Mapping[str, object], collection: str) -> Shown:
    for name in selected:
        if name not in properties:
            raise errors.not_implemented(f"the property '{name}' of {collection}")
    chosen = (*selected, "MetadataId", "@odata.type") if selected else tuple(properties)
    return {name: value for name, value in properties.items() if name in chosen}


def _write_key(table: Table, name: str | None, request: Request, keys: Keys) -> Answer:
    if request.method == "DELETE" and name:
        keys.remove(table, name)
        return Answer(204)
    if request.method == "POST" and not name:
        key = keys.define(table, request.json_object("EntityKeyMetadata"))
        definition = f"{request.root}/EntityDefinitions({stable_id(table.logical_name)})"
        return Answer(204, None, {"OData-EntityId": f"{definition}/Keys({_key(table, key)['MetadataId']})"})
    raise errors.wrong_method(request.method, "GET")


def _key(table: Table, key: AlternateKey) -> Shown:
    return {
        "MetadataId": stable_id(f"{table.logical_name}.{key.name}"),
        "LogicalName": key.name,
        "SchemaName": key.schema_name,
        "EntityLogicalName": table.logical_name,
        "KeyAttributes": list(key.columns),
        "EntityKeyIndexStatus": key.status,
        "IsSecondaryKey": False,
        "DisplayName": label(key.schema_name),
    }


def _relationship(table: Table, column: Column, schema: Schema) -> Shown:
    target = schema.by_name[column.target]
    name = f"{table.logical_name}_{column.name}_{column.target}"
    return {
        "MetadataId": stable_id(name),
        "SchemaName": name,
        "ReferencingAttribute": column.name,
        "ReferencingEntity": table.logical_name,
        "ReferencingEntityNavigationPropertyName": column.navigation,
        "ReferencedEntity": target.logical_name,
        "ReferencedAttribute": target.key,
        "ReferencedEntityNavigationPropertyName": name,
    }


def _cast(column: Column) -> str:
    if column.name in ("statecode", "statuscode"):
        return "State" if column.name == "statecode" else "Status"
    if column.target:
        return "Lookup"
    if column.options:
        return "Picklist"
    return "Memo" if column.kind is Kind.STRING and column.max_length >= _MEMO_LENGTH else _TYPES[column.kind]


def _column(table: Table, column: Column) -> Shown:
    cast = _cast(column)
    named = {"ownerid": "Owner", "parentcustomerid": "Customer"}.get(column.name, cast)
    is_key = column.name == table.key
    body: Shown = {
        "@odata.type": f"#Microsoft.Dynamics.CRM.{cast}AttributeMetadata",
        "MetadataId": stable_id(f"{table.logical_name}.{column.name}"),
        "LogicalName": column.name,
        "SchemaName": column.name,
        "EntityLogicalName": table.logical_name,
        "AttributeType": named,
        "AttributeTypeName": {"Value": f"{named}Type"},
        "IsPrimaryId": is_key,
        "IsPrimaryName": column.name == table.name_column,
        "IsValidForCreate": not column.read_only,
        "IsValidForRead": True,
        "IsValidForUpdate": not column.read_only and not is_key,
        "RequiredLevel": {"Value": "None", "CanBeChanged": True, "ManagedPropertyLogicalName": "canmodifyrequirement"},
        "DisplayName": label(column.name),
    }
    return body | {name: _OWN[name](table, column) for name in _CASTS[cast]}


def _text_format(_table: Table, column: Column) -> object:
    if column.kind in (Kind.DATE, Kind.DATETIME):
        return "DateOnly" if column.kind is Kind.DATE else "DateAndTime"
    return "Email" if column.name.startswith("emailaddress") else "Text"


def _options(table: Table, column: Column) -> object:
    if column.kind is Kind.BOOLEAN:
        return {"TrueOption": option(1, "Yes"), "FalseOption": option(0, "No")}
    states = {code: {"State": state} for code, (state, _) in table.statuses.items()}
    more: Mapping[int, Mapping[str, object]] = states if column.name == "statuscode" else {}
    return {"Options": [{**option(value, text), **more.get(value, {})} for value, text in column.options.items()]}


_OWN: Mapping[str, Callable[[Table, Column], object]] = {
    "MaxLength": lambda _table, column: column.max_length,
    "MinValue": lambda _table, column: column.minimum,
    "MaxValue": lambda _table, column: column.maximum,
    "Precision": lambda _table, _column: 2,
    "Targets": lambda _table, column: [column.target],
    "DateTimeBehavior": lambda _table, column: {"Value": "DateOnly" if column.kind is Kind.DATE else "UserLocal"},
    "Format": _text_format,
    "OptionSet": _options,
}


def option(value: int, text: str) -> Shown:
    """Return one option of a choice."""
    return {"Value": value, "Label": label(text)}


def label(text: str) -> Shown:
    """Return a label in English, the only language of the sandbox."""
    written = {"Label": text, "LanguageCode": 1033}
    return {"LocalizedLabels": [written], "UserLocalizedLabel": written}
