"""Tasks that handle secrets and personal data on connections of every kind, with and without failures."""

from __future__ import annotations

import logging
import uuid

from airflow.sdk import DAG, task
from airflow.sdk.bases.operator import BaseOperator

from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijExportSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
)
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator
from airflow_provider_cij.sensors.segments import CijSegmentSensor
from airflow_provider_cij.sources import FromDataverse, FromFile

PARAMS = dict.fromkeys(("folder", "email"), "")
IN_THE_DAG = [str(uuid.UUID(int=0xCA9A_4000 + number)) for number in range(50)]


def file(name: str, column: str | None = None) -> FromFile:
    """Return a source for a file in the folder that the run's parameters name."""
    return FromFile(f"{{{{ params.folder }}}}/{name}", column)


with DAG("secrets", schedule=None, params=PARAMS, default_args={"retries": 0}):
    create = CijCreateSegmentOperator(
        task_id="create", display_name="Secrets", query="PROFILE(contact).FILTER(creditlimit >= 19000)", groups=["in"]
    )
    segment_id = create.output["segment_id"]

    def add(task_id: str, members: object, **others: object) -> BaseOperator:
        """Return an operator that adds to the group."""
        return CijAddSegmentMembersOperator(
            task_id=task_id, segment_id=segment_id, group="in", members=members, **others
        )

    filling = [
        add("add_ids", file("ids.csv", "contactid"), max_invalid=1),
        add("add_in_the_dag", IN_THE_DAG),
        add("add_found", FromDataverse("contact", "emailaddress1 eq '{{ params.email }}'")),
        add(
            "match",
            file("emails.csv"),
            match_on="emailaddress1",
            not_found_path="{{ params.folder }}/nobody.csv",
            max_not_found=None,
        ),
    ]
    mirror = CijMirrorSegmentMembersOperator(
        task_id="mirror",
        segment_id=segment_id,
        group="in",
        members=file("ids.csv", "contactid"),
        max_invalid=1,
        max_removals=None,
    )
    publish = CijPublishSegmentOperator(task_id="publish", segment_id=segment_id, deferrable=True, poll_interval=5)
    [*filling] >> mirror >> publish

    good = []
    for kind in ("certificate", "workload"):
        good.append(
            CijSegmentSensor(
                task_id=f"wait_{kind}",
                segment_id=segment_id,
                cij_conn_id=f"cij_{kind}",
                until="refreshed",
                deferrable=True,
                poke_interval=5,
                timeout=120,
            )
        )
        publish >> CijExportSegmentMembersOperator(
            task_id=f"export_{kind}",
            segment_id=segment_id,
            path=f"{{{{ params.folder }}}}/{kind}.csv",
            cij_conn_id=f"cij_{kind}",
        )
    bad = [
        *(
            add(f"add_{kind}", IN_THE_DAG, cij_conn_id=f"cij_{kind}")
            for kind in ("wrong_secret", "wrong_passphrase", "pasted_key", "pasted_assertion")
        ),
        add("bad_emails_for_ids", file("emails.csv")),
        add("bad_headerless", file("headerless.csv", "contactid")),
        add("bad_match", file("emails.csv"), match_on="birthdate"),
        add("bad_filter", FromDataverse("contact", "emailaddress eq '{{ params.email }}'")),
    ]

    @task
    def bad_show(segment_id: str) -> None:
        """Log what a developer who looks for a fault would log."""
        from airflow_provider_cij.dataverse import auth
        from airflow_provider_cij.hooks.cij import CijHook

        async def look(cij):
            rows = await cij.dataverse.get("contacts?$top=1&$filter=emailaddress1 ne null&$select=contactid")
            log.error("%r %s %r %r %r", cij, cij.dataverse, vars(cij.dataverse), hook.settings(), len(rows["value"]))
            log.error("%r", await cij.segments.get(segment_id))
            raise ValueError(cij)

        log = logging.getLogger("airflow.task")
        hook = CijHook()
        try:
            hook.run(look)
        except ValueError:
            log.exception("%r %r", hook, auth._source(hook.settings()))
            raise

    good >> bad_show(segment_id)
