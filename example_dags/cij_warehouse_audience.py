"""From the warehouse to a live segment: contacts, their consent, exactly these people in a group, refresh, count.

The warehouse decides who is in. People who are no contacts yet are created, those whose columns are old are updated.
Each run writes files of its own. Rows that can't be written stand in ``rejects_…csv``, by line and reason. Who would
not be mailed is left out, and stands in ``left_out_…csv``.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cij.operators.consent import CijImportConsentOperator
from airflow_provider_cij.operators.members import CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.records import CijUpsertContactsOperator, lookup
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijRefreshSegmentOperator
from airflow_provider_cij.sources import FromFile, FromSql

with DAG(
    dag_id="cij_warehouse_audience",
    schedule=None,
    # Workers do not share a disk: give the URL of an object store, s3://connection@bucket/…
    params={"folder": "s3://store@marketing/audience"},
    doc_md=__doc__,
    tags=["cij", "example"],
):
    upsert = CijUpsertContactsOperator(
        task_id="upsert_contacts",
        rows=FromSql("SELECT customer_no, first_name, last_name, email, country, company FROM audience", "warehouse"),
        # An alternate key of your organisation. An address tells people apart less well: several may share it.
        key="new_customerno",
        columns={
            "customer_no": "new_customerno",
            "first_name": "firstname",
            "last_name": "lastname",
            "email": "emailaddress1",
            "country": "address1_country",
            "company": lookup("account", "name", column="parentcustomerid"),
        },
        max_invalid="1%",
        max_failed="1%",
        rejects_path="{{ params.folder }}/rejects_{{ run_id }}.csv",
        ids_path="{{ params.folder }}/contacts_{{ run_id }}.csv",
    )
    consent = CijImportConsentOperator(
        task_id="import_consent",
        rows=FromSql("SELECT email, consent, given_at FROM audience WHERE consent IS NOT NULL", "warehouse"),
        address_column="email",
        value_column="consent",
        max_invalid="1%",
    )
    create = CijCreateSegmentOperator(
        task_id="create_segment", display_name="Warehouse audience", groups=["Audience"], key="{{ dag.dag_id }}"
    )
    mirror = CijMirrorSegmentMembersOperator(
        task_id="mirror_members",
        segment_id=create.output["segment_id"],
        group="Audience",
        members=FromFile(upsert.output["ids_path"], column="contactid"),
        require_consent=True,
        opted_out_path="{{ params.folder }}/left_out_{{ run_id }}.csv",
        max_removals="20%",
    )
    refresh = CijRefreshSegmentOperator(
        task_id="refresh_segment", segment_id=create.output["segment_id"], deferrable=True, poll_interval=5
    )

    @task
    def check_count(mirrored: dict[str, Any], refreshed: dict[str, Any]) -> None:
        """Fail unless everybody in the group is a member of the segment."""
        expected, count = mirrored["added"] + mirrored["unchanged"], refreshed["member_count"]
        if count != expected:
            raise ValueError(f"{count:,} members, not {expected:,}.")

    [consent, create] >> mirror >> refresh
    check_count(mirror.output, refresh.output)
