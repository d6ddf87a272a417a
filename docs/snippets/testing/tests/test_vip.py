import uuid


def test_vip(cij_airflow, cij_sandbox, tmp_path):
    cij_sandbox.hurry()
    cij_sandbox.faults.add("429", path="AddStaticMembers", count=2, retry_after=30)  # is it waited out?
    invited = tmp_path / "invited.csv"
    invited.write_text("\n".join(["contactid", *(str(uuid.uuid4()) for _ in range(100))]))

    run = cij_airflow.dag("vip").test(run_conf={"invited": str(invited)})

    assert run.state == "success"
    assert run.get_task_instance("publish").xcom_pull("publish")["member_count"] >= 100
    cij_sandbox.faults.clear()
