"""The pages' files, read as text: what they import, which addresses they read, what they give to Airflow."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from airflow_provider_cij.ui.plugin import STATIC, CijPlugin

MODULES = {path.name: path.read_text() for path in STATIC.glob("*.js")}
ALLOWED = {
    "assets",
    "assets/events",
    "dags",
    "dags/~/dagRuns/~/taskInstances",
    "dags/*/dagRuns/~/taskInstances",
    "dags/*/dagRuns/*",
    "*/taskInstances",
    "*/taskInstances/~/xcomEntries",
    "*/taskInstances/*/xcomEntries/*",
}
"""The paths of Airflow's REST API that the pages read; ``*`` stands for a value."""


def test_each_bundle_is_a_file_that_sets_the_global_of_its_name():
    """Airflow looks for the component of an app in a global of the app's name."""
    for app in CijPlugin.react_apps:
        text = MODULES[app["bundle_url"].removeprefix("/cij/")]
        assert f'globalThis["{app["name"]}"] = ' in text


def test_each_app_has_a_route_of_its_own_and_files():
    """An app without a route is not shown, and each address is that of a file."""
    routes = [app["url_route"] for app in CijPlugin.react_apps]
    assert len(set(routes)) == len(routes) == 2
    assert {app["destination"] for app in CijPlugin.react_apps} == {"nav", "dag_run"}
    for app in CijPlugin.react_apps:
        for name in ("bundle_url", "icon", "icon_dark_mode"):
            if name in app:
                assert (STATIC / app[name].removeprefix("/").removeprefix("cij/")).is_file()


def test_only_one_module_reads_and_only_paths_that_are_listed():
    """All requests are GETs of Airflow's own REST API, made in one place with the user's session."""
    assert [name for name, text in MODULES.items() if re.search(r"\bfetch\(|XMLHttpRequest|sendBeacon", text)] == [
        "api.js"
    ]
    api = MODULES["api.js"]
    assert len(re.findall(r"\bfetch\(", api)) == 1
    assert "new URL(`api/v2/${path}`, document.baseURI)" in api
    assert 'credentials: "same-origin"' in api
    assert "method" not in api
    strings = re.findall(r'["`]((?:assets|dags|\$\{path\}|\$\{runPath[^`"]*?\})(?:/[^"`]*)?)["`]', api)
    paths = {re.sub(r"^\*$", "", re.sub(r"\$\{(?:[^{}]|\{[^}]*\})*\}", "*", text)) for text in strings}
    assert paths <= ALLOWED
    assert len(paths) == len(ALLOWED)


def test_modules_import_only_one_another():
    """Every import is of a file beside it, so that nothing has to be built and nothing comes from elsewhere."""
    for name, text in MODULES.items():
        for source in re.findall(r'^(?:import|export)\b[^;]*?from "([^"]+)"', text, re.MULTILINE):
            assert source.removeprefix("./") in MODULES, f"{name} imports {source}"
        assert "http://" not in text
        assert not re.search(r"https://\w", text)


@pytest.mark.parametrize("unsafe", ["innerHTML", "dangerouslySetInnerHTML", "eval(", "localStorage", "document.cookie"])
def test_no_module_writes_markup_or_keeps_anything(unsafe):
    """React escapes what is shown, and nothing is stored in the browser."""
    assert not [name for name, text in MODULES.items() if unsafe in text]


@pytest.mark.parametrize("name", ["history.js", "table.js", "format.js"])
def test_what_computes_knows_neither_react_nor_the_browser(name):
    """Statistics, filters and formats are pure functions."""
    assert not re.search(r"React|document|window|globalThis|element\.js|api\.js", MODULES[name])


@pytest.mark.parametrize("name", ["icon.svg", "icon-dark.svg"])
def test_an_icon_is_an_image_without_script(name):
    """Each icon is well-formed SVG that draws lines."""
    tree = ET.parse(STATIC / name)  # noqa: S314 - our own file
    kinds = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert kinds == {"svg", "g", "path", "circle"}
