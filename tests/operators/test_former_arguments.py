"""Arguments of the first version are accepted under their former names, with a warning."""

from __future__ import annotations

import pytest

from airflow_provider_cij.operators.journeys import CijPublishJourneyOperator
from airflow_provider_cij.operators.outbound import CijOutboundPublishSegmentOperator, CijOutboundStopSegmentOperator
from airflow_provider_cij.operators.segments import CijPublishSegmentOperator, CijRefreshSegmentOperator
from airflow_provider_cij.sensors.segments import CijSegmentMembersSensor

ID = "0f5b0c7f-395d-447b-b14c-315a601f878e"


@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        (CijPublishSegmentOperator, "wait_until_live"),
        (CijRefreshSegmentOperator, "wait_until_live"),
        (CijPublishJourneyOperator, "wait_until_live"),
        (CijOutboundPublishSegmentOperator, "wait_until_live"),
        (CijOutboundStopSegmentOperator, "wait_until_stopped"),
    ],
)
def test_wait_has_former_names(kind, argument):
    """``wait_until_live`` and ``wait_until_stopped`` set ``wait``, also in a mapped task, and warn."""
    record = {"journey_id": ID} if "Journey" in kind.__name__ else {"segment_id": ID}
    with pytest.warns(DeprecationWarning, match=f"{argument} is called wait by now"):
        task = kind(task_id="t", **record, **{argument: False})
    assert task.wait is False
    kind.partial(task_id="mapped", **{argument: False}).expand(**{name: [value] for name, value in record.items()})


def test_min_members_has_a_former_name():
    """``at_least`` sets ``min_members``, and warns."""
    with pytest.warns(DeprecationWarning, match="at_least is called min_members by now"):
        task = CijSegmentMembersSensor(task_id="t", segment_id=ID, at_least=5)
    assert task.min_members == 5
