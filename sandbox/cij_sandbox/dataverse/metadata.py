"""What clients ask at the start: who, which organisation, its version, the service document, EntityDefinitions."""

from __future__ import annotations

import re

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Schema, Table
from cij_sandbox.core.web import Answer, Request, options_of
from cij_sandbox.dataverse import filters
from cij_sandbox.dataverse.expressions import Compare, Literal, QueryError
from cij_sandbox.dataverse.keys import Keys
from cij_sandbox.dataverse.metadata_ids import stable_id
from cij_sandbox.dataverse.privileges import Privileges
from cij_sandbox.dataverse.table_metadata import COLLECTIONS, below_table, collected
from cij_sandbox.dataverse.tables import BUSINESS_UNIT_ID, ORGANIZATION_ID, USER_ID

VERSION = "9.2.25034.00179"
_BY_KEY = re.compile(r"EntityDefinitions\((?:LogicalName='([^']*)'|([0-9a-fA-F-]{36}))\)(?:/(.*))?", re.DOTALL)
_EXPANSION = re.compile(r"(\w+)(?:\(\$select=([\w,]*)\))?(?:,|$)")
_PARAMETERS = re.compile(r"\((?:AccessType=[^)]*)?\)$")
_PROPERTIES = (
    *("LogicalName", "SchemaName", "EntitySetName", "PrimaryIdAttribute", "PrimaryNameAttribute", "MetadataId"),
    "PrimaryImageAttribute",
)


def answer(path: str, request: Request, schema: Schema, keys: Keys, privileges: Privileges) -> Answer | None:
    """Return the answer for a path of these, None for any other."""
    if not path:
        return _service_document(request, schema)
    if path.startswith("EntityDefinitions"):
        return _entity_definitions(path, request, schema, keys)
    name = _PARAMETERS.sub("", path)
    body: dict[str, object]
    if name == "WhoAmI":
        body = {"BusinessUnitId": BUSINESS_UNIT_ID, "UserId": USER_ID, "OrganizationId": ORGANIZATION_ID}
    elif name == "RetrieveVersion":
        body = {"Version": VERSION}
    elif name == "RetrieveCurrentOrganization":
        detail = {"OrganizationId": ORGANIZATION_ID, "OrganizationVersion": VERSION, "OrganizationType": "Developer"}
        body = {"Detail": {**detail, "State": "Enabled"}}
    elif name == f"systemusers({USER_ID})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges":
        body = {"RolePrivileges": privileges.listed(schema)}
    else:
        return None
    if request.method != "GET":
        raise errors.no_such_operation(f"{request.root}/{request.path}")
    context = f"{request.context}Microsoft.Dynamics.CRM.{name.rpartition('.')[2]}Response"
    return Answer(200, {"@odata.context": context, **body})


def _service_document(request: Request, schema: Schema) -> Answer:
    sets = [{"name": table.logical_name, "kind": "EntitySet", "url": table.set_name} for table in schema.tables]
    return Answer(200, {"@odata.context": request.context.removesuffix("#"), "value": sets})


def _entity_definitions(path: str, request: Request, schema: Schema, keys: Keys) -> Answer:
    match = _BY_KEY.fullmatch(path)
    if match and match[3]:
        return below_table(_matched(schema, match), match[3], request, schema, keys)
    if request.method != "GET":
        raise errors.wrong_method(request.method, "GET")
    options = options_of(request.query)
    selected = tuple(name.strip() for name in options.pop("$select", "").split(",") if name.strip())
    for name in selected:
        if name not in _PROPERTIES:
            raise errors.not_implemented(f"the property '{name}' of EntityDefinitions")
    expansions: dict[str, str] = {}
    if path == "EntityDefinitions":
        tables = _filtered(schema, options.pop("$filter", None))
    elif match:
        tables = (_matched(schema, match),)
        expansions = _expansions(options.pop("$expand", ""))
    else:
        raise errors.not_implemented(f"'{path}'")
    for name in options:
        raise errors.not_implemented(f"the query option '{name}' on EntityDefinitions")
    shown = [_shown(table, selected) for table in tables]
    if path == "EntityDefinitions":
        return Answer(200, {"@odata.context": f"{request.context}EntityDefinitions", "value": shown})
    more = {
        name: list(collected(name, tables[0], schema, keys, select).values()) for name, select in expansions.items()
    }
    return Answer(200, {"@odata.context": f"{request.context}EntityDefinitions/$entity", **shown[0], **more})


def _expansions(text: str) -> dict[str, str]:
    """Return the collections that a request expands, each with what it selects."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _EXPANSION.match(text, position)
        if match is None or match[1] not in COLLECTIONS:
            raise errors.not_implemented(f"$expand={text} on EntityDefinitions")
        found[match[1]] = match[2] or ""
        position = match.end()
    return found


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


def _matched(schema: Schema, match: re.Match[str]) -> Table:
    """Return the table that a URL names by its logical name or its MetadataId."""
    if not match[2]:
        return _table(schema, match[1])
    by_id = {stable_id(table.logical_name): table.logical_name for table in schema.tables}
    return _table(schema, by_id.get(match[2].lower(), match[2]))


def _table(schema: Schema, name: str) -> Table:
    if name not in schema.by_name:
        raise errors.ODataError(404, "0x80060888", f"Could not find an entity with name '{name}'.")
    return schema.by_name[name]


def _shown(table: Table, selected: tuple[str, ...]) -> dict[str, object]:
    body: dict[str, object] = {
        "LogicalName": table.logical_name,
        "SchemaName": table.schema_name,
        "EntitySetName": table.set_name,
        "PrimaryIdAttribute": table.key,
        "PrimaryNameAttribute": table.name_column,
        "PrimaryImageAttribute": None,
        "MetadataId": stable_id(table.logical_name),
    }
    return {name: value for name, value in body.items() if not selected or name in (*selected, "MetadataId")}
