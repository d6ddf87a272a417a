"""Use the hook in tasks of your own."""

from typing import Any

from airflow.sdk import DAG, task

with DAG("own_code", schedule=None, params={"segment_id": ""}):
    # [start run]
    @task
    def largest_segments() -> list[dict[str, Any]]:
        """Return the ten largest live segments."""
        from airflow_provider_cij.hooks.cij import CijHook

        segments = CijHook("cij_default").run(lambda cij: cij.segments.find(live=True))
        largest = sorted(segments, key=lambda segment: segment.member_count or 0, reverse=True)[:10]
        return [{"name": segment.display_name, "members": segment.member_count} for segment in largest]

    # [end run]

    # [start session]
    @task
    def count_group(params: dict[str, Any]) -> dict[str, int]:
        """Return how many members each static group of a segment has."""
        from airflow_provider_cij.api import Cij
        from airflow_provider_cij.hooks.cij import CijHook

        async def count(cij: Cij) -> dict[str, int]:
            segment = await cij.segments.get(params["segment_id"])
            counts = {}
            for group in (await cij.segments.definition(segment)).groups:
                counts[group.name] = await cij.members.count(segment, group)
            return counts

        return CijHook("cij_default").run(count)

    # [end session]

    largest_segments()
    count_group()
