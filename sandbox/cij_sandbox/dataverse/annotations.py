"""What ``Prefer: odata.include-annotations`` adds ("Request annotations", "Include more details with errors").

Assumption: the caller is American, in UTC, and pays in dollars; a yes/no column has the labels Yes and No; the
navigation property of a lookup that cannot be bound has the name of its column.
"""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from cij_sandbox.core.errors import PLUG_IN, ODataError
from cij_sandbox.core.schema import Column, Kind
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue
from cij_sandbox.core.web import Answer, preference

FORMATTED = "OData.Community.Display.V1.FormattedValue"
_CRM = "Microsoft.Dynamics.CRM"
_CDS = "Microsoft.PowerApps.CDS"


class Annotations:
    """The annotations that a request asks for: names, or patterns such as ``*`` and ``Microsoft.Dynamics.CRM.*``."""

    def __init__(self, headers: Mapping[str, str], store: Store | None = None) -> None:
        self._asked = preference(headers, "odata.include-annotations") or ""
        self._patterns = tuple(pattern.strip() for pattern in self._asked.split(","))
        self._wanted: dict[str, bool] = {}
        self._store = store
        self._names: dict[tuple[str, SqlValue], str | None] = {}

    def __bool__(self) -> bool:
        return bool(self._asked)

    def wants(self, term: str) -> bool:
        """Return whether the request asks for an annotation."""
        if term not in self._wanted:
            self._wanted[term] = any(fnmatchcase(term, pattern) for pattern in self._patterns)
        return self._wanted[term]

    def only(self, found: Mapping[str, object]) -> dict[str, object]:
        """Return the annotations that the request asks for, under their names in JSON."""
        return {f"@{term}": value for term, value in found.items() if self.wants(term)}

    def applied(self, *others: str) -> dict[str, str]:
        """Return ``Preference-Applied`` for the annotations and for the other preferences that were applied."""
        mine = (f'odata.include-annotations="{self._asked}"',) if self else ()
        return {"Preference-Applied": ", ".join(others + mine)} if others + mine else {}

    def of(self, column: Column, value: SqlValue) -> dict[str, object]:
        """Return the annotations of one property."""
        if value is None:
            return {}
        found: dict[str, object] = {FORMATTED: self._formatted(column, value)}
        if column.target:
            found[f"{_CRM}.associatednavigationproperty"] = column.navigation or column.name
            found[f"{_CRM}.lookuplogicalname"] = column.target
        name = column.property_name
        return {f"{name}{term}": shown for term, shown in self.only(found).items() if shown is not None}

    def total(self, rows: int | None, limit: int) -> dict[str, object]:
        """Return the annotations of a count, which is -1 when the request did not ask for it."""
        count = -1 if rows is None else min(rows, limit)
        exceeded = rows is not None and rows > limit
        return self.only({f"{_CRM}.totalrecordcount": count, f"{_CRM}.totalrecordcountlimitexceeded": exceeded})

    def paging(self, cookie: str | None) -> dict[str, object]:
        """Return the annotations of a page of FetchXML; the last one has no cookie."""
        more: dict[str, object] = {f"{_CRM}.morerecords": cookie is not None}
        return self.only({f"{_CRM}.fetchxmlpagingcookie": cookie, **more} if cookie else more)

    def _formatted(self, column: Column, value: SqlValue) -> str | None:
        if column.target:
            return self._name(column.target, value)
        if column.options:
            return column.options.get(int(value or 0))
        return None if column.kind in (Kind.STRING, Kind.GUID) else formatted(column.kind, value)

    def _name(self, target: str, row_id: SqlValue) -> str | None:
        table = self._store.schema.by_name.get(target) if self._store else None
        if table is None or self._store is None:
            return None
        if (target, row_id) not in self._names:
            query = f'SELECT "{table.name_column}" FROM "{target}" WHERE "{table.key}" = ?'
            row = self._store.reader().execute(query, (row_id,)).fetchone()
            self._names[target, row_id] = row[0] if row else None
        return self._names[target, row_id]


def formatted(kind: Kind, value: SqlValue) -> str:
    """Write a value as a form shows it."""
    if kind is Kind.BOOLEAN:
        return "Yes" if value else "No"
    if kind is Kind.DATE:
        return _date(datetime.fromisoformat(str(value)))
    number = value if isinstance(value, int | float) else 0
    if kind is Kind.DATETIME:
        moment = datetime.fromtimestamp(number, UTC)
        return f"{_date(moment)} {moment.hour % 12 or 12}:{moment:%M} {'AM' if moment.hour < 12 else 'PM'}"
    return f"${number:,.2f}" if kind is Kind.DECIMAL else f"{number:,}"


def refused(error: ODataError, headers: Mapping[str, str]) -> Answer:
    """Return the answer for an error, with the details that the request asks for."""
    # Assumption: what a plug-in may say itself is 0; nothing was traced, and the inner error says the same.
    details: dict[str, object] = {
        f"{_CDS}.HelpLink": "http://go.microsoft.com/fwlink/?LinkID=398563"
        f"&error=Microsoft.Crm.CrmException%3a{error.code.removeprefix('0x')}&client=platform",
        f"{_CDS}.TraceText": "",
        f"{_CDS}.InnerError.Message": error.message,
    }
    if error.code == PLUG_IN:
        own = {f"{_CDS}.ErrorDetails.OperationStatus": "0", f"{_CDS}.ErrorDetails.SubErrorCode": "0"}
        details = {**own, **details}
    shown = Annotations(headers).only(details) if error.code else {}
    return Answer(error.status, {"error": {"code": error.code, "message": error.message, **shown}}, error.headers)


def _date(moment: datetime) -> str:
    return f"{moment.month}/{moment.day}/{moment.year}"
