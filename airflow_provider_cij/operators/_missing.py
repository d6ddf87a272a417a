"""Delete a segment or journey that may be missing."""

from __future__ import annotations

from typing import Any

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij.errors import CijNotFoundError


class MayBeMissing(CijOperator):
    """A task with ``missing_ok`` whose segment or journey may be given by a name that none has."""

    missing_ok: bool

    def _no_such_name(self, error: CijNotFoundError) -> Any:
        """Return that nothing is deleted; raise the error when that is none of the accepted outcomes."""
        if not self.missing_ok or error.http_status:  # a 404 of the request itself, such as a gateway's, says nothing
            raise error
        self.log.info("%s Nothing to delete", error.message)
        ((name, (value,)),) = self._records()
        return {name: value, "deleted": False}
