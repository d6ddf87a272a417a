"""Directives for what is generated from the code: the reference, the errors, the assumptions of the sandbox."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from airflow_provider_cij import api, errors
from airflow_provider_cij.dataverse import auth, responses

ROOT = Path(__file__).parents[2]
WHAT_TO_DO = "What to do:"
PROBES = {"read": "finds out by reading", "write": "finds out with `--write`", "no": "does not find out. {}"}


def public_names(module: ModuleType) -> list[str]:
    """Return the names that a module offers: its ``__all__``, or the public names that it defines."""
    defined = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", None) or defined
    # Types of the hook are on its page, once.
    return [name for name in names if not name.startswith("_") and name not in api.__all__]


class Reference(SphinxDirective):
    """Documents each public name of a module, ``{cij-reference} airflow_provider_cij.operators.segments``."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"members": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Return the documentation of the module's names."""
        module_name = self.arguments[0]
        module = import_module(module_name)
        return self.parse_text_to_nodes("\n".join(self._lines(module_name, module)), allow_section_headings=True)

    def _lines(self, module_name: str, module: ModuleType) -> Iterator[str]:
        yield "```{eval-rst}"
        for name in public_names(module):
            kind = "class" if inspect.isclass(value := getattr(module, name)) else "function"
            kind = "exception" if kind == "class" and issubclass(value, BaseException) else kind
            kind = kind if inspect.isclass(value) or inspect.isfunction(value) else "data"
            yield f".. auto{kind}:: {module_name}.{name}"
            if "members" in self.options and kind in ("class", "exception"):
                yield "   :members:"
            yield ""
        yield "```"


class Summary(SphinxDirective):
    """Lists the public names of modules with their first sentences and links to the reference."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a table for the modules that the content names, one a line."""
        lines = ["| name | does |", "|---|---|"]
        for module_name in self.content:
            module = import_module(module_name)
            for name in public_names(module):
                sentence = first_sentence(getattr(module, name))
                lines.append(f"| {{py:obj}}`~{module_name}.{name}` | {sentence} |")
        return self.parse_text_to_nodes("\n".join(lines))


def first_sentence(value: Any) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


class Errors(SphinxDirective):
    """Documents each error class: when it is raised, what to do, and whether Airflow retries."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each class."""
        return self.parse_text_to_nodes("\n".join(self._lines()), allow_section_headings=True)

    def _lines(self) -> Iterator[str]:
        for kind in (
            getattr(errors, name) for name in vars(errors) if name in errors.__all__
        ):  # in the order of the tree
            text = inspect.cleandoc(kind.__doc__ or "")
            if WHAT_TO_DO not in text:
                raise self.error(f"The docstring of {kind.__name__} has no paragraph {WHAT_TO_DO!r}.")
            yield f"## {kind.__name__}"
            yield ""
            base = kind.__mro__[1].__name__
            above = "" if kind is errors.CijError else f"A [{base}](#{base.lower()}). "
            retried = (
                "Permanent: the task fails at once, without retries." if kind.permanent else "Airflow's retries apply."
            )
            yield f"*{above}{retried}*"
            yield ""
            # Parameters are in the reference.
            yield text.split("\n:param", 1)[0].replace(WHAT_TO_DO, f"**{WHAT_TO_DO}**")
            yield ""


class ErrorCodes(SphinxDirective):
    """Lists the error codes that the package knows, with their classes and hints."""

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        lines = ["| code | error | what to do |", "|---|---|---|"]
        known = {code: ("CijAuthError", hint) for code, hint in auth._HINTS.items()}
        known |= {code: (kind.__name__, hint) for code, (kind, hint) in responses._BY_CODE.items()}
        for code, (name, hint) in known.items():
            lines.append(f"| `{code}` | [{name}](#{name.lower()}) | {_cell(hint)} |")
        return self.parse_text_to_nodes("\n".join(lines))


class Assumptions(SphinxDirective):
    """Lists the assumptions of ``assumptions.toml`` by subject."""

    def run(self) -> list[nodes.Node]:
        """Return a table for each subject."""
        path = ROOT / "assumptions.toml"
        self.env.note_dependency(str(path))
        return self.parse_text_to_nodes("\n".join(self._lines(path)), allow_section_headings=True)

    def _lines(self, path: Path) -> Iterator[str]:
        by_subject = groupby(sorted(tomllib.loads(path.read_text())["assumption"], key=_subject), key=_subject)
        for subject, assumptions in by_subject:
            yield f"### {subject.capitalize()}"
            yield ""
            yield "| id | assumption | the sandbox does | it can also do | `airflow cij probe` |"
            yield "|---|---|---|---|---|"
            for one in assumptions:
                others = ", ".join(f"`{_cell(other)}`" for other in one.get("alternatives", ()))
                default = f"`{_cell(one['default'])}`" if "default" in one else ""
                probe = PROBES[one["probe"]].format(one.get("why", ""))
                yield f"| `{one['id']}` | {_cell(one['says'])} | {default} | {others} | {_cell(probe)} |"
            yield ""


def _subject(assumption: Mapping[str, str]) -> str:
    return assumption["id"].partition(".")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("cij-reference", Reference)
    app.add_directive("cij-summary", Summary)
    app.add_directive("cij-errors", Errors)
    app.add_directive("cij-error-codes", ErrorCodes)
    app.add_directive("cij-assumptions", Assumptions)
    return {"parallel_read_safe": True}
