"""The provider's description for Airflow. A pure dict: every Airflow process loads it at start."""

from __future__ import annotations

from typing import Any

from airflow_provider_cij import __version__

_NAME = "Dynamics 365 Customer Insights - Journeys"


def _optional(label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    # Without "null" the form shows a red star.
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description (entry point ``apache_airflow_provider``)."""
    return {
        "package-name": "airflow-provider-cij",
        "name": _NAME,
        "description": f"Segments, journeys and custom triggers of Microsoft {_NAME}, over the Dataverse Web API.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://learn.microsoft.com/dynamics365/customer-insights/journeys/",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": ["airflow_provider_cij.hooks.cij"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    "airflow_provider_cij.operators.consent",
                    "airflow_provider_cij.operators.journeys",
                    "airflow_provider_cij.operators.members",
                    "airflow_provider_cij.operators.outbound",
                    "airflow_provider_cij.operators.records",
                    "airflow_provider_cij.operators.segments",
                    "airflow_provider_cij.operators.triggers",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    "airflow_provider_cij.sensors.interactions",
                    "airflow_provider_cij.sensors.journeys",
                    "airflow_provider_cij.sensors.outbound",
                    "airflow_provider_cij.sensors.segments",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    "airflow_provider_cij.triggers.journeys",
                    "airflow_provider_cij.triggers.outbound",
                    "airflow_provider_cij.triggers.pause",
                    "airflow_provider_cij.triggers.segments",
                    "airflow_provider_cij.triggers.watching",
                ],
            }
        ],
        # For Airflow 3.2 and newer; Airflow 3.1 has the console script airflow-cij.
        "cli": ["airflow_provider_cij.cli.get_cli_commands"],
        "asset-uris": [
            {"schemes": ["cij"], "handler": "airflow_provider_cij.assets.sanitize_uri"},
        ],
        "extra-links": ["airflow_provider_cij.links.CijJourneyLink", "airflow_provider_cij.links.CijSegmentLink"],
        "connection-types": [
            {
                "connection-type": "cij",
                "hook-class-name": "airflow_provider_cij.hooks.cij.CijHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "host": "Organisation URL",
                        "port": "Port",
                        "login": "Client ID",
                        "password": "Client secret",
                    },
                    "placeholders": {
                        "host": "https://contoso.crm4.dynamics.com",
                        # The Test button of Airflow 3.3.2 refuses a connection without a port.
                        "port": "443",
                        "login": "application (client) id of the app registration",
                        "password": "the secret's value, not its id",
                    },
                },
                "conn-fields": {
                    "tenant_id": _optional("tenant_id", "Entra tenant, by GUID or domain."),
                    "credential": _optional(
                        "credential",
                        "How to log in; client_secret unless chosen.",
                        enum=["client_secret", "certificate", "workload_identity", "managed_identity"],
                    ),
                    "certificate_path": _optional(
                        "certificate_path", "For certificate: PEM with private key and certificate, or PFX."
                    ),
                    "certificate_private_key": _optional(
                        "certificate_private_key",
                        "For certificate: private key and certificate as text, instead of a file.",
                        format="password",
                    ),
                    "private_key_passphrase": _optional(
                        "private_key_passphrase", "For certificate, when the key has one.", format="password"
                    ),
                    "federated_token_file": _optional(
                        "federated_token_file",
                        "For workload_identity; by default where AZURE_FEDERATED_TOKEN_FILE points.",
                    ),
                    "managed_identity_client_id": _optional(
                        "managed_identity_client_id", "For managed_identity, when it is user-assigned."
                    ),
                    "authority": _optional(
                        "authority", "Login endpoint with tenant; by default that of the organisation's cloud."
                    ),
                    "api_version": _optional("api_version", "By default v9.2."),
                    "ca_bundle": _optional(
                        "ca_bundle", "PEM file to trust besides the public authorities (sandbox, private proxy)."
                    ),
                    "max_concurrency": _optional(
                        "max_concurrency", "By default 8; the service allows a user 52.", kind="integer", minimum=1
                    ),
                    "timeout_seconds": _optional(
                        "timeout_seconds", "For one request; by default 120.", kind="integer", minimum=1
                    ),
                    "max_throttle_wait_seconds": _optional(
                        "max_throttle_wait_seconds",
                        "A worker sleeps through a throttled service's wait up to this long, by default 60.",
                        kind="integer",
                        minimum=0,
                    ),
                    "max_poll_seconds": _optional(
                        "max_poll_seconds",
                        "Waiting tasks check at least this often, whatever their poll_interval; for tests.",
                        kind="number",
                        exclusiveMinimum=0,
                    ),
                    "caller_object_id": _optional("caller_object_id", "Entra object id of the user to act for."),
                },
            }
        ],
    }
