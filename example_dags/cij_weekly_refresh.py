"""Every week: the audience from a database into a group, a new evaluation, a check, and word to other DAGs.

The group becomes equal to what the query gives. A list that would remove more than a fifth of the group is taken for a
broken one: the task fails before anything is changed.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_provider_cij.operators.members import CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijRefreshSegmentOperator
from airflow_provider_cij.sources import FromSql

# A DAG with schedule=[NEWSLETTER_AUDIENCE] runs after each refresh, and finds the counts in the event.
NEWSLETTER_AUDIENCE = Asset("cij_newsletter_audience")

with DAG(
    dag_id="cij_weekly_refresh",
    schedule="0 3 * * MON",
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    params={"fewest": 1, "most": 250_000},
    doc_md=__doc__,
    tags=["cij", "example"],
):
    create = CijCreateSegmentOperator(
        task_id="create_segment", display_name="Newsletter audience", groups=["From the warehouse"]
    )
    mirror = CijMirrorSegmentMembersOperator(
        task_id="mirror_members",
        segment_id=create.output["segment_id"],
        group="From the warehouse",
        members=FromSql("SELECT contact_id FROM newsletter_audience WHERE unsubscribed = 0", conn_id="warehouse"),
    )
    refresh = CijRefreshSegmentOperator(
        task_id="refresh_segment", segment_id=create.output["segment_id"], deferrable=True, poll_interval=10
    )

    @task(outlets=[NEWSLETTER_AUDIENCE], retries=0)
    def check_and_announce(mirrored: dict[str, int], refreshed: dict[str, Any], **context: Any) -> None:
        """Fail on a member count out of bounds; otherwise tell who listens."""
        params, count = context["params"], refreshed["member_count"]
        if not params["fewest"] <= count <= params["most"]:
            raise ValueError(f"{count} members, not {params['fewest']} to {params['most']}.")
        context["outlet_events"][NEWSLETTER_AUDIENCE].extra = {**refreshed, **mirrored}

    mirror >> refresh
    check_and_announce(mirror.output, refresh.output)
