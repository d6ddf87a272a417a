"""Provider info matches Airflow's schemas and the code: a wrong entry stops every Airflow command."""

from __future__ import annotations

import json
from importlib.metadata import distribution, entry_points
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
from packaging.utils import canonicalize_name

from airflow_provider_cij.assets import sanitize_uri
from airflow_provider_cij.provider_info import get_provider_info

INFO = get_provider_info()
(CONNECTION_TYPE,) = INFO["connection-types"]


def _schema(name: str) -> dict:
    airflow = find_spec("airflow")
    assert airflow is not None
    return json.loads((Path(airflow.submodule_search_locations[0]) / name).read_text())


def test_it_matches_the_runtime_schema():
    """Provider info matches the schema that Airflow checks at every start."""
    jsonschema.validate(INFO, _schema("provider_info.schema.json"))


def test_connection_types_match_the_stricter_schema():
    """Connection types match the schema from which the connection form is rendered."""
    schema = _schema("provider.yaml.schema.json")
    item = schema["properties"]["connection-types"]["items"]
    jsonschema.validate(CONNECTION_TYPE, {**schema.get("definitions", {}), **item})


def test_the_package_name_is_the_distributions():
    """The package name is that of the installed distribution."""
    (entry,) = [
        point for point in entry_points(group="apache_airflow_provider") if point.dist.name == INFO["package-name"]
    ]
    assert INFO["package-name"] == canonicalize_name(distribution("airflow-provider-cij").name)
    assert entry.load()() == INFO


def _modules() -> list[str]:
    return [
        module
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in INFO[kind]
        for module in entry["python-modules"]
    ]


@pytest.mark.parametrize("module", _modules())
def test_every_module_named_exists(module):
    """Every module named in provider info can be imported."""
    assert find_spec(module) is not None


def test_the_asset_handler_named_exists():
    """The handler of the scheme cij is the function that checks its URIs."""
    (entry,) = INFO["asset-uris"]
    assert entry == {"schemes": ["cij"], "handler": f"{sanitize_uri.__module__}.{sanitize_uri.__name__}"}


@pytest.mark.parametrize("path", [CONNECTION_TYPE["hook-class-name"], *INFO["extra-links"]])
def test_every_class_named_exists(path):
    """Every class named in provider info can be imported."""
    module, _, name = path.rpartition(".")
    assert isinstance(getattr(__import__(module, fromlist=[name]), name), type)


def test_airflow_finds_the_provider():
    """Airflow's ProvidersManager discovers the provider."""
    from airflow.providers_manager import ProvidersManager

    assert ProvidersManager().providers[INFO["package-name"]].version == INFO["versions"][0]


def test_the_hook_agrees_with_the_connection_type():
    """The hook's attributes agree with the connection type, or Airflow would not find the hook."""
    from airflow_provider_cij.hooks.cij import CijHook

    assert (CijHook.conn_type, CijHook.hook_name) == (CONNECTION_TYPE["connection-type"], CONNECTION_TYPE["hook-name"])


def test_every_field_of_the_form_is_optional_and_read():
    """Every form field may be null and is a field of Settings."""
    hook = Path(find_spec("airflow_provider_cij.hooks.cij").origin).read_text()
    for name, field in CONNECTION_TYPE["conn-fields"].items():
        assert "null" in field["schema"]["type"], name
        assert f'"{name}"' in hook, name


def test_secrets_have_names_that_airflow_masks():
    """Secret fields have names that Airflow masks, in REST and UI."""
    from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

    for name, field in CONNECTION_TYPE["conn-fields"].items():
        if field["schema"].get("format") == "password":
            assert should_hide_value_for_key(name), name


def test_the_commands_named_are_those_of_the_console_script():
    """Airflow's commands of the provider are one group, whose commands the console script has as well."""
    (path,) = INFO["cli"]
    module, _, name = path.rpartition(".")
    (group,) = getattr(__import__(module, fromlist=[name]), name)()
    assert group.name == "cij"
    assert {command.name for command in group.subcommands} == {"check", "probe"}
