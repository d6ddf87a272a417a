"""Raise custom triggers of real-time journeys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._arguments import filled_text, positive, whole
from airflow_provider_cij._base import log_group
from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.files import check_writable, writing
from airflow_provider_cij.operators._hidden import hidden
from airflow_provider_cij.operators._member_list import ListOperator, check_list_paths, counts_text, read_list
from airflow_provider_cij.sources import Source, as_source, checked
from airflow_provider_cij.sources.values import private, revealed
from airflow_provider_cij.version_compat import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.custom_triggers.bulk import RaiseProgress
    from airflow_provider_cij.api.members.id_set import IdSet

_KEY = "cij_raised"
_MOST_PER_MINUTE = 2500
# Airflow's task state store takes 64 KB.
_MOST_CHARACTERS = 60_000


def _store_progress(store: Any, progress: RaiseProgress) -> None:
    """Store the progress for as long as the DAG run is kept.

    :param store: Airflow's task state store
    :param progress: the progress
    :raises CijInputError: more people are unclear than the store has room for
    """
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    noted = progress.as_dict()
    if len(json.dumps(noted)) > _MOST_CHARACTERS:
        raise CijInputError(
            f"{len(progress.unclear):,} people are unclear, more than can be noted.",
            hint="The trigger was raised for no one else.",
        )
    store.set(_KEY, noted, retention=NEVER_EXPIRE)


class CijRaiseTriggerOperator(ListOperator):
    """Raise a custom trigger for one person or for many, for each at most once.

    The service starts journeys after its response. A raised trigger can't be taken back, and the service can't be asked
    whether one was raised, so no request is sent twice. People for whom the trigger may or may not have been raised are
    counted as ``unclear`` and written to ``unclear_path`` for a person to decide. The trigger's definition is read and
    every attribute checked before the first raise.

    On Airflow 3.3 and newer the task state store keeps the progress, and a retry goes on from there. People whom a
    killed worker had in flight, 25 at the most, are ``unclear``. The progress is kept with the DAG run: a task that is
    cleared after its success fails and raises nothing, unless ``raise_again`` is True. So does a cleared task whose
    progress is gone, which Airflow's setting ``[state_store] clear_on_success`` deletes. Older versions of Airflow keep
    nothing, so there a second try fails with an explanation and raises nothing.

    Sources: "Create custom triggers"; the fair use policy (2,500 triggers a minute for all of an organisation).

    :param trigger: the trigger's unique name, as its code snippet shows it, with or without ``msdynmkt_``
    :param profile_id: a contact's or lead's id, to raise the trigger for one person; the UI does not show it. Default
        None, ``members`` is given
    :param members: contact or lead ids, to raise the trigger for many: a list, another task's output, ``FromFile``,
        ``FromSql`` or ``FromDataverse``. Default None, ``profile_id`` is given
    :param attributes: all attributes of the trigger, the same for everybody; the UI shows their names only. Default
        None, the trigger has none
    :param match_on: a column of the contact or lead, such as ``emailaddress1``, when the list holds its values instead
        of ids. Default None, the list holds ids
    :param table: ``contact`` (default) or ``lead``
    :param max_invalid: how many rows may hold no id, or no value to match: a number of rows, a share of them such as
        ``"5%"``, or None for any number. Default 0. A NULL, None or NaN is counted
        as ``invalid``, but not against this bound. More fail before the first raise
    :param max_not_found: how many different values of ``match_on`` may match nobody: a number, a share of the rows such
        as ``"5%"``, or None for any number. Default 0. More fail before the first raise
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param rate_per_minute: the most requests a minute, of this task alone; default 2,000, up to 2,500
    :param max_concurrency: the most requests in flight; default None, the connection's
    :param unclear_path: a CSV or Parquet file to write the ids of unclear people to. Default None, a single unclear
        person fails the task. Give a path then and clear the task: nothing is raised again, and the file is written
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines. Default
        None, no file
    :param rejects_path: a CSV or Parquet file to write the rows to that hold no id, or no value to match: line, reason
        and value. Written also when more than ``max_invalid`` fail the task. Default None, no file
    :param raise_again: True raises the trigger again for everybody when the task is cleared after a success. False
        (default) fails such a task and raises nothing
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"read", "invalid", "duplicate", "not_found", "raised", "refused", "unclear"}``, over all tries
    :raises AirflowFailException: there is no such trigger, or it is not ready to use; attributes are missing, empty or
        of another type; the service accepted nobody; people are unclear and there is no ``unclear_path``; or for whom
        an earlier try raised the trigger is not known
    """

    template_fields_renderers = {"attributes": "json"}  # noqa: RUF012  # Airflow's own annotation

    profile_id = hidden("profile_id")

    @property
    def attributes(self) -> Any:
        """The trigger's attributes. The UI shows their names."""
        return self._attributes

    @attributes.setter
    def attributes(self, attributes: Any) -> None:
        if isinstance(attributes, Mapping):
            self._attributes: Any = {name: private(value) for name, value in attributes.items()}
        else:
            self._attributes = private(attributes)

    def __init__(
        self,
        *,
        trigger: str,
        profile_id: str | None = None,
        members: Iterable[object] | Source | None = None,
        attributes: Mapping[str, Any] | None = None,
        table: str = "contact",
        rate_per_minute: float = 2000,
        max_concurrency: int | None = None,
        unclear_path: str | None = None,
        raise_again: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(members=members, **kwargs)
        self.trigger = trigger
        self.profile_id = profile_id
        self.attributes = attributes
        self.table = table
        self.rate_per_minute = rate_per_minute
        self.max_concurrency = max_concurrency
        self.unclear_path = unclear_path
        self.raise_again = raise_again

    def _execute(self, context: Context) -> dict[str, int]:
        """Read the list to its end, check the attributes, then raise the trigger."""
        store: Any = context.get("task_state_store")
        max_tries = int(getattr(context["ti"], "max_tries", 0) or 0)
        # Before the arguments are checked: a task that is cleared with better ones finds its progress.
        self._begin(store, context["ti"].try_number, max_tries)
        source, attributes = self._checked(), self._plain_attributes()
        report = self.call(lambda cij: self._run(cij, source, attributes, store, max_tries))
        self.log.info("Custom trigger %s: %s", self.trigger, counts_text(report))
        return report

    async def _run(
        self, cij: Cij, source: Source, given: Mapping[str, Any], store: Any, max_tries: int
    ) -> dict[str, int]:
        from airflow_provider_cij.api.custom_triggers.client import attributes_of

        trigger = await cij.custom_triggers.get(self.trigger)
        attributes = attributes_of(trigger, given)
        id_list = await read_list(self, cij, source, self.table)
        ids, progress = id_list.ids, self._progress(cij, store, trigger.action, id_list.ids, max_tries)

        async def send(profile_id: str) -> None:
            await cij.custom_triggers.raise_trigger(trigger, profile_id, attributes, self.table)

        with log_group(self.log, f"Raise {trigger.name} for {len(ids):,} people"):
            await self._raise(cij, send, ids, progress, store)
        await asyncio.to_thread(self._write_unclear, progress, ids)  # an object store may run a loop
        if store is not None and progress.done_at is None:
            # Kept after success: a task that is killed before Airflow records its success runs again.
            progress.done_at = max_tries
            _store_progress(store, progress)
        return {
            **{name: getattr(id_list, name) for name in ("read", "invalid", "duplicate", "not_found")},
            "raised": progress.raised,
            "refused": progress.refused,
            "unclear": len(progress.unclear),
        }

    def _checked(self) -> Source:
        if (self.profile_id is None) == (self.members is None):
            raise CijInputError("Give profile_id for one person, or members for many.")
        filled_text("trigger", self.trigger)
        positive("Give how many a minute, more than 0.", rate_per_minute=self.rate_per_minute)
        if self.rate_per_minute > _MOST_PER_MINUTE:
            hint = f"The service takes {_MOST_PER_MINUTE}."
            raise CijInputError(f"rate_per_minute is {self.rate_per_minute}.", hint=hint)
        whole(max_concurrency=self.max_concurrency)
        check_list_paths(self)
        check_writable(self.unclear_path)
        return checked(as_source([revealed(self.profile_id)]) if self.members is None else self.members)

    def _plain_attributes(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        given = revealed(self.attributes) or {}
        if not isinstance(given, Mapping):
            raise CijInputError(f"attributes is a {type(given).__name__}.", hint="Give a dict.")
        return {name: revealed(value) for name, value in given.items()}

    def _begin(self, store: Any, try_number: int, max_tries: int) -> None:
        """Store empty progress before the first raise, unless an earlier try has stored some.

        :param store: Airflow's task state store; None before Airflow 3.3
        :param try_number: the number of this try, from 1
        :param max_tries: how many retries Airflow allows; Clear increases it
        :raises CijInputError: an earlier try may have raised the trigger, and no progress is stored
        """
        from airflow_provider_cij.api.custom_triggers.bulk import RaiseProgress

        if store is None:
            if try_number > 1:
                raise CijInputError(
                    "An earlier try of this task may have raised the trigger, and this Airflow keeps no note of it.",
                    hint="This try did not raise the trigger. Find out for which people an earlier try did, and run "
                    "the DAG for the others.",
                )
        elif not store.get(_KEY):
            # A try that gets here stores its progress, so a cleared task without any has lost it.
            if try_number > 1 and max_tries > (self.retries or 0) and not self.raise_again:
                raise CijInputError(
                    "This task was cleared, and the note of who was raised is gone, as with Airflow's setting "
                    "[state_store] clear_on_success: it may have raised everybody.",
                    hint="This try did not raise the trigger. Find out for which people an earlier try did. "
                    "raise_again=True raises it for all.",
                )
            _store_progress(store, RaiseProgress(""))

    def _progress(self, cij: Cij, store: Any, action: str, ids: IdSet, max_tries: int) -> RaiseProgress:
        """Return the progress that an earlier try has stored, or an empty one.

        :param cij: the open session
        :param store: Airflow's task state store; None before Airflow 3.3
        :param action: the action that raises the trigger
        :param ids: the list
        :param max_tries: how many retries Airflow allows; Clear increases it
        :raises CijInputError: the task was cleared after a success, or an earlier try had another list, trigger, table
            or organisation
        """
        from airflow_provider_cij.api.custom_triggers.bulk import RaiseProgress

        former = f"{action} {ids.digest()}"  # stored before the address and the table were part of it
        progress = RaiseProgress(f"{cij.dataverse.settings.base_url} {self.table} {former}")
        if not (noted := store.get(_KEY) if store is not None else None):
            return progress
        earlier = RaiseProgress.from_dict(noted)
        if not earlier.of:  # an earlier try ended before its first raise
            return progress
        # Clear increases max_tries; a retry does not.
        if earlier.done_at is not None and max_tries > earlier.done_at:
            if self.raise_again:
                text = "Raising the trigger again, an earlier run of this task raised it for %s people"
                self.log.warning(text, f"{earlier.raised:,}")
                return progress
            raise CijInputError(
                f"This task of this run has raised the trigger for {earlier.raised:,} people, and was cleared since.",
                hint="It was not raised now. Give raise_again=True to raise it again, or mark the task as success.",
            )
        if earlier.of not in (progress.of, former):
            raise CijInputError(
                f"An earlier try has raised the trigger for {earlier.raised:,} people, and "
                f"{len(earlier.unclear):,} are unclear; but it had another list, trigger, table or "
                "organisation, so they can't be identified here.",
                hint="It was not raised now. Give the task the list that it had, or run the DAG again for the others.",
            )
        counts = (earlier.next, len(ids), earlier.raised, earlier.refused)
        text = "An earlier try got to %s of %s people: %s raised, %s refused; it goes on from there"
        self.log.info(text, *(f"{count:,}" for count in counts))
        earlier.of = progress.of
        return earlier

    async def _raise(self, cij: Cij, send: Any, ids: IdSet, progress: RaiseProgress, store: Any) -> None:
        from airflow_provider_cij.api.custom_triggers.bulk import raise_for_all

        def note(progress: RaiseProgress) -> None:
            if store is not None:
                _store_progress(store, progress)

        try:
            await raise_for_all(
                send,
                ids,
                progress,
                note,
                rate_per_minute=self.rate_per_minute,
                at_once=self.max_concurrency or cij.dataverse.settings.max_concurrency,
                on_progress=lambda settled, total: self.log.info("%s of %s people", f"{settled:,}", f"{total:,}"),
            )
        except CijError as error:
            if store is None and (progress.raised or progress.unclear):
                # A retry, and the run after a pause, would start over with the first person.
                raise AirflowFailException(
                    f"{error} {progress.raised:,} were raised, {len(progress.unclear):,} are unclear, and this Airflow "
                    "keeps no note of who. Not tried again."
                ) from error
            raise

    def _write_unclear(self, progress: RaiseProgress, ids: IdSet) -> None:
        from airflow_provider_cij.api.custom_triggers.bulk import at_positions

        count = len(progress.unclear)
        if self.unclear_path is not None:
            with writing(str(self.unclear_path), (f"{self.table}id",)) as file:
                file.write(list(at_positions(ids, set(progress.unclear))))
        if not count:
            return
        if self.unclear_path is None:
            raise CijInputError(
                f"Whether the trigger was raised for {count:,} of {len(ids):,} people is not known. Not sent again.",
                hint="Give unclear_path and clear the task: nobody is raised again, and who they are is written there.",
            )
        text = "The trigger may or may not have been raised for %s people, their ids are in %s"
        self.log.warning(text, f"{count:,}", self.unclear_path)
