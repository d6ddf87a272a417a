"""``sdkmessagefilters``: by which clients ask whether a table takes CreateMultiple and its like ("Bulk operations").

Assumption: only the messages of bulk operations are listed, for each table that can be written to.
"""

from __future__ import annotations

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Schema
from cij_sandbox.core.web import Answer, Request, options_of
from cij_sandbox.dataverse import filters
from cij_sandbox.dataverse.expressions import Compare, Condition, Every, QueryError, Some
from cij_sandbox.dataverse.metadata_ids import stable_id
from cij_sandbox.dataverse.multiple import MULTIPLE

SET = "sdkmessagefilters"
_MESSAGE, _TABLE = "sdkmessageid/name", "primaryobjecttypecode"


def answer(request: Request, schema: Schema) -> Answer:
    """Return the messages of tables that a filter finds."""
    if request.method != "GET":
        raise errors.wrong_method(request.method, "GET")
    options = options_of(request.query)
    text = options.pop("$filter", "")
    aliases = {name: options.pop(name) for name in tuple(options) if name.startswith("@")}
    expand = options.pop("$expand", "")
    options.pop("$select", None)
    if options or expand not in ("", "sdkmessageid($select=name)", "sdkmessageid"):
        raise errors.not_implemented(f"these query options on '{SET}'")
    try:
        condition = filters.parse(text.replace(_MESSAGE, "message"), aliases) if text else None
    except QueryError as problem:
        raise errors.bad_query(f"{problem.message} in '{text[:200]}'.") from None
    found = []
    for table in schema.tables:
        for message in MULTIPLE if table.writable else ():
            name = message.rpartition(".")[2]
            if condition is None or _holds(condition, {"message": name, _TABLE: table.logical_name}):
                found.append(_row(name, table.logical_name, expanded=bool(expand)))
    return Answer(200, {"@odata.context": f"{request.context}{SET}", "value": found})


def _row(message: str, table: str, *, expanded: bool) -> dict[str, object]:
    message_id = stable_id(f"message {message}")
    row: dict[str, object] = {
        "sdkmessagefilterid": stable_id(f"message {message} of {table}"),
        _TABLE: table,
        "_sdkmessageid_value": message_id,
    }
    return {**row, "sdkmessageid": {"sdkmessageid": message_id, "name": message}} if expanded else row


def _holds(condition: Condition, row: dict[str, str]) -> bool:
    if isinstance(condition, Every):
        return all(_holds(operand, row) for operand in condition.operands)
    if isinstance(condition, Some):
        return any(_holds(operand, row) for operand in condition.operands)
    if isinstance(condition, Compare) and condition.operator == "=" and condition.column in row:
        return row[condition.column].casefold() == str(condition.literal.value).casefold()
    raise errors.not_implemented(f"this $filter on '{SET}'")
