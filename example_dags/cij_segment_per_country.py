"""A segment for each country: a file of people becomes a segment of its own, which is filled and published.

Each list of the DAG is made by the task before it. A whole result is taken where a segment is meant, and a source is
passed on as plain JSON. Task instances are shown by the names of their segments.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_provider_cij.operators.members import CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator
from airflow_provider_cij.sources import FromFile

with DAG(
    dag_id="cij_segment_per_country",
    schedule=None,
    # Workers do not share a disk: give the URL of an object store, s3://connection@bucket/…
    params={"folder": "s3://store@marketing/newsletter"},
    doc_md=__doc__,
    tags=["cij", "example"],
):

    @task
    def countries(params: dict[str, Any]) -> list[str]:
        """List the countries that have a file, such as ``nl.csv``."""
        return sorted(path.stem for path in ObjectStoragePath(params["folder"]).iterdir() if path.suffix == ".csv")

    @task
    def segments(countries: list[str]) -> list[dict[str, Any]]:
        """Return the segment of each country. Its key is the same in every run."""
        return [
            {"key": f"newsletter-{country}", "display_name": f"Newsletter {country.upper()}"} for country in countries
        ]

    @task
    def files(countries: list[str], made: list[dict[str, Any]], params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the segment and the file of each country."""
        return [
            {"segment_id": segment, "members": FromFile(f"{params['folder']}/{country}.csv").as_dict()}
            for country, segment in zip(countries, list(made), strict=True)
        ]

    found = countries()
    create = CijCreateSegmentOperator.partial(task_id="create_segment", groups=["people"]).expand_kwargs(
        segments(found)
    )
    fill = CijMirrorSegmentMembersOperator.partial(task_id="fill_segment", group="people").expand_kwargs(
        files(found, create.output)
    )
    publish = CijPublishSegmentOperator.partial(task_id="publish_segment", deferrable=True, poll_interval=5).expand(
        segment_id=create.output
    )
    fill >> publish
