"""What operators and sensors are made of: the connection, the call to the service, and how they fail."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseOperator, get_current_context
from airflow.sdk.bases.operator import BaseOperatorMeta

from airflow_provider_cij._arguments import NAME_PREFIX, READERS, Reader, is_template, record, records
from airflow_provider_cij._mapping import CheckedPartial, entries
from airflow_provider_cij._nested import rendered_copy
from airflow_provider_cij.dataverse.clock import DAY
from airflow_provider_cij.errors import CijError, CijNotFoundError, CijThrottledError
from airflow_provider_cij.links import CijJourneyLink, CijSegmentLink
from airflow_provider_cij.retry_policy import CijRetryPolicy
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY, AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.hooks.cij import CijHook

T = TypeVar("T")


@contextmanager
def log_group(log: Any, title: str) -> Iterator[None]:
    """Fold what is logged within, in the Airflow UI.

    :param log: the task's
    :param title: of the group
    """
    log.info("::group::%s", title)
    try:
        yield
    finally:
        log.info("::endgroup::")


@contextmanager
def best_effort(log: Any, what: str) -> Iterator[None]:
    """Log what fails within, and go on: the task's work is done, and a retry would do it again.

    :param log: the task's
    :param what: is read or shown within, for the log
    """
    try:
        yield
    except Exception as error:
        log.warning("%s could not be read: %s", what, error)


def push_note(context: Any, log: Any, key: str, **note: str) -> None:
    """Push a small XCom that says what became of a task. A failure to push is logged and changes nothing.

    :param context: of the running task
    :param log: the task's
    :param key: ``cij_error`` or ``cij_waiting_for``
    :param note: what it says: no secrets, no people
    """
    try:
        context["ti"].xcom_push(key=key, value=note)
    except Exception as error:
        log.warning("XCom %s could not be pushed: %s", key, error)


def push_waiting(context: Any, log: Any, what: str, until: str, deadline: float) -> None:
    """Push as XCom ``cij_waiting_for`` what a task waits for, just before it is deferred.

    :param context: of the running task
    :param log: the task's
    :param what: is waited for, such as ``Segment <id>``
    :param until: what it is to become, such as ``live``
    :param deadline: epoch seconds at which the task gives up
    """
    now, end = (datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds") for moment in (time.time(), deadline))
    push_note(context, log, "cij_waiting_for", what=what, until=until, since=now, gives_up_at=end)


# Former names of arguments; the constructors set the attributes of the names by now.
_FORMER = frozenset({"wait_until_live", "wait_until_stopped", "at_least"})
# ``dry_run`` is a method of BaseOperator.
_ATTRIBUTES = {"dry_run": "plan_only"}
# What links.py adds to the context once the record is known.
_MAP_INDEX_TEMPLATE = "{{ segment_name | default(journey_name) | default(ti.map_index) }}"


def _attribute(argument: str) -> str:
    return _ATTRIBUTES.get(argument, argument)


def _keyword_arguments(init: Any) -> dict[str, Any]:
    """Return the keyword-only arguments of a constructor with their defaults, ``...`` without one."""
    if init is None:
        return {}
    code, defaults = init.__code__, init.__kwdefaults__ or {}
    names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return {name: defaults.get(name, ...) for name in names if name not in _FORMER}


class _CheckedWhenParsed(BaseOperatorMeta):
    """Checks the arguments of a task as soon as it is constructed, while the DAG file is parsed."""

    arguments: Mapping[str, Any]
    fixed: Sequence[str]

    @property
    def __signature__(cls) -> Signature:  # noqa: N805  # a metaclass
        """The constructor's own arguments first, then those of its bases, for ``help()`` and editors."""
        if not cls.__module__.startswith(f"{__package__}."):
            raise AttributeError("__signature__")  # a user's own subclass has a constructor of its own
        found: dict[str, Parameter] = {}
        for base in cls.__mro__:
            for name, annotation in getattr(base.__dict__.get("__init__"), "__annotations__", {}).items():
                if (default := cls.arguments.get(name, cls)) is not cls and name not in cls.fixed:
                    default = Parameter.empty if default is ... else default
                    kind = Parameter.KEYWORD_ONLY
                    found.setdefault(name, Parameter(name, kind, default=default, annotation=annotation))
        return Signature([*found.values(), Parameter("kwargs", Parameter.VAR_KEYWORD, annotation="Any")])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  # a metaclass
        task = super().__call__(*args, **kwargs)
        # Those of a mapped task were checked by its partial, or another task gives them.
        if not getattr(task, "_BaseOperator__from_mapped", False):
            for name in task.arguments:
                task.check_argument(name, getattr(task, _attribute(name)))
        return task


class CijTask(BaseOperator, metaclass=_CheckedWhenParsed):
    """A task on a connection of type ``cij``.

    All its arguments are templated. Each key of its result is an XCom of its own. On Airflow 3.3 and newer its retries
    follow ``CijRetryPolicy``, unless it has a policy of its own.

    :param cij_conn_id: the Airflow connection; default ``cij_default``
    """

    template_fields: Sequence[str] = ("cij_conn_id",)
    arguments: ClassVar[Mapping[str, Any]] = {"cij_conn_id": "cij_default"}
    """The constructor's arguments with their defaults, ``...`` for those that must be given."""
    fixed: ClassVar[Sequence[str]] = ()
    """Arguments of a base that the class gives itself."""
    outbound: ClassVar[bool] = False
    """True for tasks on outbound marketing, whose segments and journeys are other rows."""
    readers: ClassVar[Mapping[str, Reader]] = {}
    """How arguments are read that other tasks read in another way."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith(f"{__package__}."):
            return  # a user's own subclass says itself what is templated
        inherited = ChainMap(*(base.__dict__.get("arguments", {}) for base in cls.__mro__[1:]))
        cls.arguments = {**inherited, **_keyword_arguments(cls.__dict__.get("__init__"))}
        cls.template_fields = tuple(map(_attribute, cls.arguments))

    def __init__(self, *, cij_conn_id: str = "cij_default", **kwargs: Any) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.cij_conn_id = cij_conn_id
        if TAKES_RETRY_POLICY and self.retry_policy is None:
            self.retry_policy = CijRetryPolicy()

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Return a partial operator, whose arguments are checked while the DAG file is parsed.

        Its task instances are shown by the segment's or journey's name, unless ``map_index_template`` is given.
        """
        made = super().partial(**{"map_index_template": _MAP_INDEX_TEMPLATE, **kwargs})
        made._expand_called = True  # the one below is expanded in its place
        return CheckedPartial(operator_class=made.operator_class, kwargs=made.kwargs, params=made.params)

    @classmethod
    def check_mapped(cls, partial: Mapping[str, Any], expanded: Mapping[str, Any] | Sequence[Any]) -> None:
        """Check the arguments of a mapped task that are known while the DAG file is parsed.

        :param partial: what all its task instances are given
        :param expanded: what ``expand`` is given by name, or ``expand_kwargs`` as a list
        :raises CijInputError: no run could use a value
        """
        if isinstance(expanded, Mapping):
            given = [(name, value) for name, values in expanded.items() for value in entries(values)]
        else:
            given = [pair for entry in expanded if isinstance(entry, Mapping) for pair in entry.items()]
        for name, value in (*partial.items(), *given):
            cls.check_argument(name, value)

    @classmethod
    def check_argument(cls, name: str, value: Any) -> None:
        """Check an argument while the DAG file is parsed.

        :param name: the argument's name
        :param value: as the DAG file gives it; what holds a template is checked when it is rendered
        :raises CijInputError: no run could use the value
        """
        if name in cls.arguments and not is_template(value, cls.template_ext):
            cls.read_argument(name, value)

    @classmethod
    def read_argument(cls, name: str, value: Any) -> Any:
        """Return an argument as what it stands for.

        :param name: the argument's name
        :param value: as given, or as its template was rendered
        :raises CijInputError: the value is not of the argument's kind
        """
        if value is None and cls.arguments[name] is None:
            return None
        reader = cls.readers.get(name) or READERS.get(name)
        return reader(name, value) if reader else value

    def render_template(
        self, content: Any, context: Context, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """Render a value of an argument. An object with template fields is rendered as a copy: others may hold it."""
        nested = getattr(content, "template_fields", ()) and not isinstance(content, type)
        if not nested or (seen_oids and id(content) in seen_oids):
            return super().render_template(content, context, jinja_env, seen_oids)
        return rendered_copy(content, self.render_template, context, jinja_env, seen_oids)

    def execute(self, context: Context) -> Any:
        """Read the arguments, then do the task's work."""
        with self._failing_plainly(context):
            self._read_arguments()
            if any(value.startswith(NAME_PREFIX) for _, values in self._records() for value in values):
                try:
                    self.call(self._replace_names)
                except CijNotFoundError as error:
                    return self._no_such_name(error)
            return self._execute(context)

    def _no_such_name(self, error: CijNotFoundError) -> Any:
        """Return the result of a task whose segment or journey is given by a name that none has; by default raise."""
        raise error

    def _execute(self, context: Context) -> Any:
        """Do the task's work, and return its result; raise CijError when it can't be done."""
        raise NotImplementedError

    def _read_arguments(self) -> None:
        for name in self.arguments:
            setattr(self, _attribute(name), self.read_argument(name, getattr(self, _attribute(name))))

    def _records(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the arguments that name segments or journeys, each with the ids or names that it holds."""
        for name in self.arguments:
            if value := getattr(self, name) if READERS.get(name) in (record, records) else None:
                yield name, [value] if isinstance(value, str) else value

    async def _replace_names(self, cij: Cij) -> None:
        """Replace names of segments and journeys by their ids, before anything is done.

        :param cij: the open client
        :raises CijNotFoundError: no segment or journey has a name
        :raises CijInputError: several have it
        """
        verbs: Any = cij.outbound if self.outbound else cij
        for name, values in list(self._records()):
            rows = verbs.journeys if "journey" in name else verbs.segments
            found = [
                await rows.id_of_name(value.removeprefix(NAME_PREFIX)) if value.startswith(NAME_PREFIX) else value
                for value in values
            ]
            self.log.info("%s: %s", name, ", ".join(map(" is ".join, zip(values, found, strict=True))))
            setattr(self, name, found[0] if READERS[name] is record else found)

    def call(self, work: Callable[[Cij], Awaitable[T]]) -> T:
        """Run a coroutine function on an open client.

        :param work: is given the open client
        :return: what it returns
        :raises CijError: it failed
        """
        return self.hook.run(work)

    def show_link(self, context: Any, record: Mapping[str, Any], name: str) -> None:
        """Show the link to a segment or journey now, before the task ends.

        :param context: of the running task
        :param record: its ``segment_id`` or ``journey_id``, such as its summary
        :param name: its name
        """
        link = CijSegmentLink() if "segment_id" in record else CijJourneyLink()
        table = link.outbound_table if self.outbound else link.table
        link.show(self, context, self.hook.row_url(table, record[f"{link.what}_id"]), name)

    @contextmanager
    def _failing_plainly(self, context: Context) -> Iterator[None]:
        """Log why the task fails, push it as XCom ``cij_error``, and raise it without this package's frames.

        With ``soft_fail`` Airflow would skip a sensor on its own exceptions: there a ``CijError`` stays one.

        :param context: of the running task
        :raises AirflowFailException: no retry can succeed
        """
        try:
            yield
        except CijError as error:
            self.log.debug("Where it failed:", exc_info=True)
            self.log.error("%s", error)
            push_note(context, self.log, "cij_error", message=error.message, code=error.code, hint=error.hint)
            if error.permanent and not getattr(self, "soft_fail", False):
                raise AirflowFailException(str(error)) from None
            raise error.with_traceback(None) from None

    @cached_property
    def hook(self) -> CijHook:
        """The connection's hook."""
        # Imported late: parsing a DAG file must not cost what msal costs.
        from airflow_provider_cij.hooks.cij import CijHook

        return CijHook(self.cij_conn_id)

    def on_kill(self) -> None:
        """End the task: nothing new is sent; requests in flight may arrive. Airflow allows 5 seconds."""
        if "hook" in self.__dict__:
            self.hook.stop()


class CijOperator(CijTask):
    """A task that changes something. It is idempotent: a retry does what is left to do."""

    ui_color = "#d8e8f8"

    # Epoch seconds at which the service first asked for a longer wait than a worker sleeps, in this try.
    _throttled_since = 0.0

    def call(self, work: Callable[[Cij], Awaitable[T]]) -> T:
        """Run a coroutine function on an open client.

        When the service asks for a wait that is longer than the connection's ``max_throttle_wait_seconds``, the task
        is deferred, and begins again afterwards.

        :param work: is given the open client
        :return: what it returns
        :raises CijError: it failed
        """
        try:
            return super().call(work)
        except CijThrottledError as error:
            since = self._throttled_since or time.time()
            slept = self.hook.settings().max_throttle_wait_seconds  # at most, in the worker
            if not slept < (error.retry_after or 0.0) < DAY or time.time() - since > DAY:
                raise
            from airflow_provider_cij.triggers.pause import CijPauseTrigger

            pause = error.retry_after or 0.0
            self.log.info("%s The task continues in %s s", error, f"{pause:,.0f}")
            push_waiting(
                get_current_context(),
                self.log,
                "The service's rate limit",
                "requests are accepted",
                time.time() + pause,
            )
            self.defer(
                trigger=CijPauseTrigger(until=time.time() + pause, since=since),
                method_name="resume_after_throttle",
                timeout=timedelta(seconds=pause + 600),
            )

    def resume_after_throttle(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Begin again after a pause."""
        self._throttled_since = float((event or {}).get("since") or time.time())
        return self.execute(context)

    # Tasks that the first version deferred name it.
    go_on = resume_after_throttle
