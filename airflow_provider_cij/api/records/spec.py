"""The options of an upsert, and its report. Pure."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field

from airflow_provider_cij.api.bounds import Bound, bound_of
from airflow_provider_cij.api.records.arguments import (
    DUPLICATES,
    LOGICAL_NAME,
    MODES,
    MULTIPLE_MATCHES,
    Columns,
    check_batch_size,
    check_columns,
)
from airflow_provider_cij.errors import CijInputError


@dataclass(frozen=True)
class UpsertSpec:
    """The options of an upsert.

    :param table: the table's logical name, such as ``contact``
    :param key: the logical names of the key columns: those of an alternate key, the primary id, or others such as
        ``emailaddress1``
    :param columns: logical names, or lookups, by the names of the rows' columns. Default None, the same names
    :param mode: ``upsert`` (default), ``update_only`` or ``create_only``
    :param batch_size: rows a request; default 100
    :param on_multiple_matches: which row is written when several have a key: ``refuse`` (default) none, ``oldest``, or
        ``all``
    :param duplicates: what several rows with one key do: ``refuse`` (default) everything, or the ``first`` or ``last``
        of them counts
    :param clear_empty: True clears columns whose value is empty. Default False, they are left alone
    :param skip_unchanged: True (default) sends changed rows and columns only
    :param max_invalid: how many rows may be invalid; default 0
    :param max_failed: how many rows may be refused by the service; default 0
    :param suppress_duplicate_detection: False applies the organisation's duplicate detection rules. Default True, as
        the service does by itself
    :param bypass_business_logic: True bypasses the organisation's own plug-ins. Default False
    """

    table: str
    key: tuple[str, ...]
    columns: Columns | None = None
    mode: str = "upsert"
    batch_size: int = 100
    on_multiple_matches: str = "refuse"
    duplicates: str = "refuse"
    clear_empty: bool = False
    skip_unchanged: bool = True
    max_invalid: Bound = field(default_factory=lambda: bound_of("max_invalid", 0))
    max_failed: Bound = field(default_factory=lambda: bound_of("max_failed", 0))
    suppress_duplicate_detection: bool = True
    bypass_business_logic: bool = False

    def __post_init__(self) -> None:
        for name, value, words in (
            ("mode", self.mode, MODES),
            ("duplicates", self.duplicates, DUPLICATES),
            ("on_multiple_matches", self.on_multiple_matches, MULTIPLE_MATCHES),
        ):
            if value not in words:
                raise CijInputError(f"{name} is {value!r}.", hint=f"Use {', '.join(map(repr, words))}.")
        check_batch_size(self.batch_size)
        if not isinstance(self.table, str) or not re.fullmatch(LOGICAL_NAME, self.table):
            raise CijInputError("table is no logical name.", hint="Give a name such as 'contact'.")
        if not self.key or not all(isinstance(name, str) and re.fullmatch(LOGICAL_NAME, name) for name in self.key):
            raise CijInputError("key names no column.", hint="Give a column's logical name, or a list of them.")
        if len(set(self.key)) < len(self.key):
            raise CijInputError("key names a column twice.")
        if self.columns is not None:
            check_columns(self.columns)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each write (Dataverse docs, "Manage duplicate detection", "Bypass custom business logic")."""
        detect = {} if self.suppress_duplicate_detection else {"MSCRM.SuppressDuplicateDetection": "false"}
        bypass = {"MSCRM.BypassBusinessLogicExecution": "CustomSync,CustomAsync"} if self.bypass_business_logic else {}
        return detect | bypass


@dataclass(frozen=True)
class UpsertReport:
    """The result of an upsert, as counts of rows.

    :param read: rows read
    :param invalid: rows that can't be sent
    :param duplicate: rows whose key another row has
    :param created: rows that were created
    :param updated: rows that were changed
    :param unchanged: rows whose values were all there already
    :param not_found: rows of ``update_only`` whose key no row has
    :param existing: rows of ``create_only`` whose key a row has; it was not changed
    :param failed: rows that the service refused, and those whose key several rows have
    :param requests: write requests of this try
    :param resumed_from: rows that an earlier try had completed
    """

    read: int = 0
    invalid: int = 0
    duplicate: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    not_found: int = 0
    existing: int = 0
    failed: int = 0
    requests: int = 0
    resumed_from: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)
