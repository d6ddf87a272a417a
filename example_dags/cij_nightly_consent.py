"""Every night: consent from the warehouse, the opt-outs that came in CIJ back to it, and a group of who may be mailed.

The warehouse's table ``consent`` says who opted in or out, and when. A later "no" in CIJ is never overwritten. The
opt-outs that came in CIJ, by link or form, are in a file for the warehouse, one a night, each once. The group then
holds exactly the people of ``newsletter_audience`` who would be mailed: who lost consent is removed. The last task
counts once more.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_provider_cij.operators.consent import CijExportConsentOperator, CijImportConsentOperator
from airflow_provider_cij.operators.members import CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijRefreshSegmentOperator
from airflow_provider_cij.sources import FromSql

# It keeps how far the exports have come (Airflow 3.3 and newer). Before, every run exports from the beginning.
OPT_OUTS = Asset("cij_opt_outs")

with DAG(
    dag_id="cij_nightly_consent",
    schedule="0 2 * * *",
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    # Workers do not share a disk: give the URL of an object store, s3://connection@bucket/…
    params={"folder": "s3://store@marketing/consent"},
    doc_md=__doc__,
    tags=["cij", "example"],
):
    import_consent = CijImportConsentOperator(
        task_id="import_consent",
        rows=FromSql("SELECT email, consent, given_at, reason FROM consent", conn_id="warehouse"),
        address_column="email",
        value_column="consent",
        reason_column="reason",
        max_invalid="1%",
    )
    export_opt_outs = CijExportConsentOperator(
        task_id="export_opt_outs",
        path="{{ params.folder }}/opt_outs_{{ run_id }}.csv",
        value="opted_out",
        since="2020-01-01T00:00:00+00:00",
        outlets=[OPT_OUTS],
    )
    create = CijCreateSegmentOperator(
        task_id="create_segment", display_name="Newsletter, with consent", groups=["May be mailed"]
    )
    mirror = CijMirrorSegmentMembersOperator(
        task_id="mirror_members",
        segment_id=create.output["segment_id"],
        group="May be mailed",
        members=FromSql("SELECT contact_id FROM newsletter_audience WHERE unsubscribed = 0", conn_id="warehouse"),
        require_consent=True,
        opted_out_path="{{ params.folder }}/left_out_{{ run_id }}.csv",
        max_removals="50%",
    )
    refresh = CijRefreshSegmentOperator(
        task_id="refresh_segment", segment_id=create.output["segment_id"], deferrable=True, poll_interval=5
    )

    @task(retries=0)
    def check_count(mirrored: dict[str, Any], refreshed: dict[str, Any]) -> None:
        """Fail unless the segment holds exactly the people of the list who may be mailed."""
        reasons = ("opted_out", "not_set", "unknown", "no_address")
        listed = mirrored["read"] - mirrored["invalid"] - mirrored["duplicate"]
        expected = listed - sum(mirrored[reason] for reason in reasons)
        if refreshed["member_count"] != expected:
            raise ValueError(f"{refreshed['member_count']} members, {expected} people may be mailed.")

    import_consent >> [export_opt_outs, mirror]
    mirror >> refresh
    check_count(mirror.output, refresh.output)
