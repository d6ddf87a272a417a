"""What operators and sensors share: the call into the service, and what a person sees of it in Airflow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_cij.errors import CijError
from airflow_provider_cij.version_compat import AirflowFailException

if TYPE_CHECKING:
    from airflow_provider_cij.api.segments.models import Segment
    from airflow_provider_cij.hooks.cij import Cij, CijHook

T = TypeVar("T")


def hook_of(task: Any) -> CijHook:
    """Give a task's hook. Imported late: parsing a DAG file must not cost what msal costs."""
    from airflow_provider_cij.hooks.cij import CijHook

    return CijHook(task.cij_conn_id)


@contextmanager
def failing_for_good(soft_fail: bool = False) -> Iterator[None]:
    """Turn an error that no retry can mend into Airflow's word for it.

    :param soft_fail: of a sensor. With it Airflow would skip on its own exceptions; ours fail the task
    """
    try:
        yield
    except CijError as error:
        if error.permanent and not soft_fail:
            raise AirflowFailException(str(error)) from error
        raise


def run(hook: CijHook, work: Callable[[Cij], Awaitable[T]], soft_fail: bool = False) -> T:
    """Run a coroutine function on an open client; ``soft_fail`` as in ``failing_for_good``."""
    with failing_for_good(soft_fail):
        return hook.run(work)


@contextmanager
def log_group(log: Any, title: str) -> Iterator[None]:
    """Fold what is logged within, in the Airflow UI."""
    log.info("::group::%s", title)
    try:
        yield
    finally:
        log.info("::endgroup::")


@contextmanager
def cosmetic(log: Any, what: str) -> Iterator[None]:
    """Let nothing that fails within fail the task: its work is done, and a retry would do it again.

    :param log: the task's
    :param what: is read or shown within, for the log
    """
    try:
        yield
    except Exception as error:
        log.warning("%s could not be read: %s", what, error)


def summary(segment: Segment) -> dict[str, Any]:
    """Say what a wait came to, for XCom."""
    return {
        "segment_id": segment.segment_id,
        "status": segment.status_name,
        "member_count": segment.member_count,
    }


_REACHED = ("live", "refreshed", "stopped", "members", "completed", "finished")


def summary_of(event: Mapping[str, Any] | None, of: str = "segment") -> dict[str, Any]:
    """Read a trigger's event.

    :param event: what the trigger sent
    :param of: where in it the summary is
    :return: the summary that the trigger made
    :raises CijError: the trigger says that it failed; or there is no event, or one nobody knows: never a success
    """
    if event and event.get("status") in _REACHED and isinstance(event.get(of), dict):
        return dict(event[of])
    if event and isinstance(event.get("error"), dict):
        raise CijError.from_dict(event["error"])
    raise CijError(f"The trigger came back with {event!r}, which says neither success nor failure.")


def name_of(event: Mapping[str, Any] | None) -> str:
    """Give the name of the segment or journey, which the trigger has seen."""
    return str((event or {}).get("name") or "")
