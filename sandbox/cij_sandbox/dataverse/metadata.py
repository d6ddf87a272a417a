"""What clients ask at the start: WhoAmI, RetrieveVersion, the service document, EntityDefinitions."""

from __future__ import annotations

import re
import uuid

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Schema, Table
from cij_sandbox.core.web import Answer, Request, options_of
from cij_sandbox.dataverse import filters
from cij_sandbox.dataverse.expressions import Compare, Literal, QueryError
from cij_sandbox.dataverse.tables import BUSINESS_UNIT_ID, ORGANIZATION_ID, USER_ID

VERSION = "9.2.25034.00179"
# "Query table definitions using the Web API": how clients learn the labels of all choice columns in one request.
_CHOICES = re.compile(
    r"EntityDefinitions\(LogicalName='([^']*)'\)/Attributes/Microsoft\.Dynamics\.CRM\.PicklistAttributeMetadata"
)
_CHOICES_OPTIONS = {"$select": "LogicalName", "$expand": "OptionSet($select=Options)"}
_BY_KEY = re.compile(r"EntityDefinitions\(LogicalName='([^']*)'\)")
_PROPERTIES = ("LogicalName", "SchemaName", "EntitySetName", "PrimaryIdAttribute", "PrimaryNameAttribute", "MetadataId")


def answer(path: str, request: Request, schema: Schema) -> Answer | None:
    """Return the answer for a path of these, None for any other."""
    if not path:
        return _service_document(request, schema)
    if path.startswith("EntityDefinitions"):
        return _entity_definitions(path, request, schema)
    name = path.removesuffix("()")
    if name == "WhoAmI":
        body = {"BusinessUnitId": BUSINESS_UNIT_ID, "UserId": USER_ID, "OrganizationId": ORGANIZATION_ID}
    elif name == "RetrieveVersion":
        body = {"Version": VERSION}
    else:
        return None
    if request.method != "GET":
        raise errors.no_such_operation(f"{request.root}/{request.path}")
    return Answer(200, {"@odata.context": f"{request.context}Microsoft.Dynamics.CRM.{name}Response", **body})


def _service_document(request: Request, schema: Schema) -> Answer:
    sets = [{"name": table.logical_name, "kind": "EntitySet", "url": table.set_name} for table in schema.tables]
    return Answer(200, {"@odata.context": request.context.removesuffix("#"), "value": sets})


def _entity_definitions(path: str, request: Request, schema: Schema) -> Answer:
    if request.method != "GET":
        raise errors.wrong_method(request.method, "GET")
    options = options_of(request.query)
    if (match := _CHOICES.fullmatch(path)) and options == _CHOICES_OPTIONS:
        return _choices(_table(schema, match[1]), request)
    selected = tuple(name.strip() for name in options.pop("$select", "").split(",") if name.strip())
    for name in selected:
        if name not in _PROPERTIES:
            raise errors.not_implemented(f"the property '{name}' of EntityDefinitions")
    if path == "EntityDefinitions":
        tables = _filtered(schema, options.pop("$filter", None))
    elif match := _BY_KEY.fullmatch(path):
        tables = (_table(schema, match[1]),)
    else:
        raise errors.not_implemented(f"'{path}'")
    for name in options:
        raise errors.not_implemented(f"the query option '{name}' on EntityDefinitions")
    shown = [_shown(table, selected) for table in tables]
    if path == "EntityDefinitions":
        return Answer(200, {"@odata.context": f"{request.context}EntityDefinitions", "value": shown})
    return Answer(200, {"@odata.context": f"{request.context}EntityDefinitions/$entity", **shown[0]})


def _filtered(schema: Schema, text: str | None) -> tuple[Table, ...]:
    if text is None:
        return schema.tables
    try:
        condition = filters.parse(text)
    except QueryError as problem:
        raise errors.bad_query(problem.message) from None
    # What Microsoft's Python SDK asks for; each table of the sandbox is public.
    if condition == Compare("IsPrivate", "=", Literal("boolean", 0)):
        return schema.tables
    # As on the real service, which answers 501 to startswith() here.
    if not isinstance(condition, Compare) or condition.operator != "=" or condition.column not in _PROPERTIES[:3]:
        raise errors.not_implemented("this $filter on EntityDefinitions")
    return tuple(table for table in schema.tables if _shown(table, ())[condition.column] == condition.literal.value)


def _table(schema: Schema, name: str) -> Table:
    if name not in schema.by_name:
        raise errors.ODataError(404, "0x80060888", f"Could not find an entity with name '{name}'.")
    return schema.by_name[name]


def _choices(table: Table, request: Request) -> Answer:
    choices = [column for column in table.columns if column.options and column.name not in ("statecode", "statuscode")]
    found = [
        {
            "LogicalName": column.name,
            "MetadataId": _stable_id(f"{table.logical_name}.{column.name}"),
            "OptionSet": {"Options": [_option(value, label) for value, label in column.options.items()]},
        }
        for column in choices
    ]
    return Answer(200, {"@odata.context": f"{request.context}{request.path}", "value": found})


def _option(value: int, text: str) -> dict[str, object]:
    label = {"Label": text, "LanguageCode": 1033}
    return {"Value": value, "Label": {"LocalizedLabels": [label], "UserLocalizedLabel": label}}


def _stable_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:table:{name}"))


def _shown(table: Table, selected: tuple[str, ...]) -> dict[str, object]:
    body: dict[str, object] = {
        "LogicalName": table.logical_name,
        "SchemaName": table.schema_name,
        "EntitySetName": table.set_name,
        "PrimaryIdAttribute": table.key,
        "PrimaryNameAttribute": table.name_column,
        "MetadataId": _stable_id(table.logical_name),
    }
    return {name: value for name, value in body.items() if not selected or name in (*selected, "MetadataId")}
