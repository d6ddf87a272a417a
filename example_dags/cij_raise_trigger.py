"""Raise a custom trigger for everybody in a file, each once, and keep the few whose reply was lost for a person."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_cij.operators.triggers import CijRaiseTriggerOperator
from airflow_provider_cij.sources import FromFile

with DAG(
    dag_id="cij_raise_trigger",
    schedule=None,
    # Workers do not share a disk: give the URL of an object store, s3://connection@bucket/…
    params={
        "people_file": "s3://store@marketing/abandoned_carts.csv",
        "unclear_folder": "s3://store@marketing/unclear",
    },
    doc_md=__doc__,
    tags=["cij", "example"],
) as dag:
    CijRaiseTriggerOperator(
        task_id="raise_cart_abandoned",
        trigger="msdynmkt_cartabandoned",
        members=FromFile("{{ params.people_file }}", column="contactid"),
        # The same for everybody.
        attributes={"carturl": "https://contoso.com/cart"},
        unclear_path="{{ params.unclear_folder }}/unclear_{{ run_id }}.csv",
        retries=2,
    )
