"""``airflow cij probe``: test which of the sandbox's assumptions hold on an organisation."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_cij import __version__
from airflow_provider_cij.api.organisation import type_of, version_of
from airflow_provider_cij.cli.assumptions import NO, WRITE, Assumption, assumptions
from airflow_provider_cij.cli.check import hook_of, logs_on_stderr
from airflow_provider_cij.cli.outcome import NotTriedError, RefusedError
from airflow_provider_cij.cli.own_rows import OwnRows
from airflow_provider_cij.cli.probing import Organisation
from airflow_provider_cij.dataverse.odata import query
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijError, CijInputError, CijUnavailableError

if TYPE_CHECKING:
    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.dataverse.client import DataverseClient

HOLDS, DIFFERS, NOT_TRIED = "holds", "differs", "not tried"
"""The results of a test."""

# OrganizationType of sandboxes, previews, trials and developer environments, by name and number. "Customer" is
# production; unknown types count as production.
_NOT_PRODUCTION = (
    *("customertest", "customerfreetest", "customerpreview", "testdrive", "emailtrial", "developer", "trial"),
    *("5", "6", "7", "9", "11", "13", "14"),
)
_LIVE = 2
# A refusal is an observation, so only network failures are retried.
_RETRIES = RetryPolicy(max_attempts=2)
# What a report may contain: words, numbers and punctuation.
_SAFE = re.compile(r"[\w $.,:;'()\[\]{}/-]{0,200}", re.ASCII)
_SECRET = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}|://|@", re.IGNORECASE)


def probe(options: argparse.Namespace) -> None:
    """Probe an organisation, write the report, and exit.

    The exit code is 0, 1 when rows are left, or 2 when there is no connection or writing is not allowed.

    :param options: ``conn_id``, ``report``, ``write``, ``yes``, ``despite_live_journeys`` and ``patience``
    """
    path = Path(options.report)
    try:
        if not path.parent.is_dir():
            raise CijInputError(f"There is no folder {str(path.parent)!r} for the report.")
        with logs_on_stderr():
            report, left = hook_of(options.conn_id).run(lambda cij: _run(cij, options, path), _RETRIES)
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except (CijError, OSError) as error:
        sys.stdout.write(f"failed   {error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stdout.write("Stopped. The rows of the probe were deleted, or the next run deletes them.\n")
        raise SystemExit(130) from None
    sys.stdout.write("\n".join(_lines(report["assumptions"])) + "\n")
    if left:
        sys.stdout.write(
            f"{left:,} rows named cij-probe-... could not be deleted: run the command again, or delete them by hand.\n"
        )
    raise SystemExit(1 if left else 0)


async def _run(cij: Cij, options: argparse.Namespace, path: Path) -> tuple[dict[str, Any], int]:
    client = cij.dataverse
    await client.get("WhoAmI")
    kind = await type_of(client)
    if not options.write:
        return await _report(Organisation(client, None, options.patience), assumptions(), kind), 0
    await _check_leave(client, options, kind)
    own = OwnRows(client, path.with_name(f"{path.name}.rows"), options.patience)
    await own.remove()
    try:
        report = await _report(Organisation(client, own, options.patience), assumptions(), kind)
    finally:
        left = await own.remove()
    return report, left


async def _check_leave(client: DataverseClient, options: argparse.Namespace, kind: str) -> None:
    """Raise CijInputError when the probe may not write: in production, next to live journeys, or without a yes."""
    host = client.settings.base_url
    if kind and kind.lower() not in _NOT_PRODUCTION:
        raise CijInputError(
            f"{host} is a production organisation: its type is {kind}.",
            hint="Probe a sandbox or developer environment.",
        )
    if not options.despite_live_journeys and await _has_live_journeys(client):
        raise CijInputError(
            f"{host} has live journeys, or they can't be read.",
            hint="Give --despite-live-journeys to write nevertheless.",
        )
    if options.yes:
        return
    what = f"of type {kind}" if kind else "of unknown type"
    sys.stdout.write(f"Create rows named cij-probe-... in {host}, {what}, and delete them? [yes/no] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CijInputError("Nothing was written.", hint="Answer yes, or give --yes.")


async def _has_live_journeys(client: DataverseClient) -> bool:
    path = query("msdynmkt_journeys", select=("msdynmkt_journeyid",), where=f"statuscode eq {_LIVE}", top=1)
    try:
        return bool(await client.rows(path))
    except CijUnavailableError:
        return False
    except CijError:
        return True


async def _report(org: Organisation, listed: Iterable[Assumption], kind: str) -> dict[str, Any]:
    """Test assumptions one by one.

    :param org: the organisation
    :param listed: the assumptions
    :param kind: the type of the organisation
    :return: the report, as JSON
    """
    found = [await result_of(org, assumption) for assumption in listed]
    return {
        "format": 1,
        "provider": __version__,
        "dataverse": _safe(await version_of(org.client)),
        "organisation_type": _safe(kind),
        "wrote": org.writes,
        "publish_seconds": org.publish_seconds,
        "assumptions": found,
    }


async def result_of(org: Organisation, assumption: Assumption) -> dict[str, Any]:
    """Test one assumption.

    :param org: the organisation
    :param assumption: the assumption
    :return: ``id``, ``result``, ``assumed``, ``observed``, ``can_be_played``, ``why`` and ``seconds``
    """
    from airflow_provider_cij.cli.probes import PROBES

    started = time.monotonic()
    observed, why = "", ""
    if assumption.probe == NO:
        why = assumption.why
    elif assumption.probe == WRITE and not org.writes:
        why = "it needs --write"
    else:
        try:
            observed = _safe(await PROBES[assumption.id](org))
        except RefusedError as refusal:
            observed = _safe(str(refusal))
        except NotTriedError as reason:
            why = _safe(str(reason))
        except CijError as error:  # its message may quote the service
            why = f"{type(error).__name__} {error.http_status or ''} {error.code}".strip()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # a response of another shape
            why = f"the response has an unexpected shape ({type(error).__name__})"
    result = NOT_TRIED if why else HOLDS if observed == assumption.default else DIFFERS
    return {
        "id": assumption.id,
        "result": result,
        "assumed": assumption.default,
        "observed": observed or None,
        "can_be_played": assumption.can_be_played(observed) if result == DIFFERS else None,
        "why": why or None,
        "seconds": round(time.monotonic() - started, 2),
    }


def _safe(text: str) -> str:
    """Return a text, or a note in its place when it may contain an id, an address or a host."""
    return text if _SAFE.fullmatch(text) and not _SECRET.search(text) else "something that a report can't hold"


def _lines(found: list[dict[str, Any]]) -> list[str]:
    width = max(len(entry["id"]) for entry in found)
    lines = []
    for entry in found:
        text = entry["why"] or entry["observed"]
        if entry["result"] == DIFFERS:
            text = f"observed: {text}; assumed: {entry['assumed']}"
            text += "" if entry["can_be_played"] else "; the sandbox can't play it"
        lines.append(f"{entry['result']:<9} {entry['id']:<{width}}  {text}")
    counts = Counter(entry["result"] for entry in found)
    return [*lines, ", ".join(f"{number:,} {result}" for result, number in counts.items())]
