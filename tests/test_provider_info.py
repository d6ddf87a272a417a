"""One typo in provider info takes a whole Airflow down: its loader has no try."""

from __future__ import annotations

import json
from importlib.metadata import distribution, entry_points
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
from packaging.utils import canonicalize_name

from airflow_provider_cij.provider_info import get_provider_info

INFO = get_provider_info()
(CONNECTION_TYPE,) = INFO["connection-types"]


def _schema(name: str) -> dict:
    airflow = find_spec("airflow")
    assert airflow is not None
    return json.loads((Path(airflow.submodule_search_locations[0]) / name).read_text())


def test_the_runtime_schema():
    """What Airflow checks at every start."""
    jsonschema.validate(INFO, _schema("provider_info.schema.json"))


def test_the_stricter_schema_of_connection_types():
    """What the connection form is rendered from; the runtime schema does not know it."""
    schema = _schema("provider.yaml.schema.json")
    item = schema["properties"]["connection-types"]["items"]
    jsonschema.validate(CONNECTION_TYPE, {**schema.get("definitions", {}), **item})


def test_the_package_name_is_the_distributions():
    """Another one stops every airflow command."""
    (entry,) = [one for one in entry_points(group="apache_airflow_provider") if one.dist.name == INFO["package-name"]]
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
    """Airflow imports them by these names."""
    assert find_spec(module) is not None


@pytest.mark.parametrize("path", [CONNECTION_TYPE["hook-class-name"], *INFO["extra-links"]])
def test_every_class_named_exists(path):
    """Airflow imports them by these names."""
    module, _, name = path.rpartition(".")
    assert isinstance(getattr(__import__(module, fromlist=[name]), name), type)


def test_airflow_finds_the_provider():
    """By its own discovery, as at every start."""
    from airflow.providers_manager import ProvidersManager

    assert ProvidersManager().providers[INFO["package-name"]].version == INFO["versions"][0]


def test_the_hook_agrees_with_the_connection_type():
    """Else Airflow logs an inconsistency, and finds no hook for the connection."""
    from airflow_provider_cij.hooks.cij import CijHook

    assert (CijHook.conn_type, CijHook.hook_name) == (CONNECTION_TYPE["connection-type"], CONNECTION_TYPE["hook-name"])


def test_every_field_of_the_form_is_optional_and_read():
    """A field without "null" gets a red star; a field nobody reads is a lie."""
    hook = Path(find_spec("airflow_provider_cij.hooks.cij").origin).read_text()
    for name, field in CONNECTION_TYPE["conn-fields"].items():
        assert "null" in field["schema"]["type"], name
        assert f'"{name}"' in hook, name


def test_secrets_have_names_that_airflow_masks():
    """REST and UI mask by key name, not by the form's format."""
    from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

    for name, field in CONNECTION_TYPE["conn-fields"].items():
        if field["schema"].get("format") == "password":
            assert should_hide_value_for_key(name), name
