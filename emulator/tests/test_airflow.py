"""Airflow's EMR Serverless operators and sensors as third-party clients, where Airflow is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emr_emulator import Durations, Emulator, Scripted

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(not importlib.util.find_spec("airflow"), reason="Airflow is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Airflow uses deprecated APIs of its own
]

ROLE = "arn:aws:iam::111122223333:role/job"
DRIVER = {"sparkSubmit": {"entryPoint": "s3://airflow/code/job.py"}}
OFTEN: dict[str, Any] = {"waiter_delay": 1, "waiter_max_attempts": 60}


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    durations = Durations(application_creation=0, application_start=0, application_stop=0, worker_start=0)
    scripted = {"spark-submit": Scripted(seconds=0.2)}
    with Emulator(tmp_path / "emulator", durations=durations, scripted=scripted) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))  # Airflow reads it when it is imported
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
        emulator.create_bucket("airflow")
        yield emulator


@pytest.fixture
def context() -> Any:
    return {"ti": SimpleNamespace(xcom_push=lambda **_: None)}


def states(emulator: Emulator) -> list[str]:
    return [str(run.state) for application in emulator.applications() for run in application.runs.values()]


def test_an_application_from_its_creation_to_its_deletion(emulator: Emulator, context: Any) -> None:
    from airflow.providers.amazon.aws.operators.emr import (
        EmrServerlessCreateApplicationOperator,
        EmrServerlessDeleteApplicationOperator,
        EmrServerlessStartJobOperator,
        EmrServerlessStopApplicationOperator,
    )
    from airflow.providers.amazon.aws.sensors.emr import EmrServerlessApplicationSensor, EmrServerlessJobSensor

    create = EmrServerlessCreateApplicationOperator(
        task_id="create", release_label="emr-7.10.0", job_type="SPARK", config={"name": "airflow"}, **OFTEN
    )
    application = create.execute(context)
    assert EmrServerlessApplicationSensor(task_id="ready", application_id=application).poke(context)
    start = EmrServerlessStartJobOperator(
        task_id="start", application_id=application, execution_role_arn=ROLE, job_driver=DRIVER,
        configuration_overrides=None, wait_for_completion=False, enable_application_ui_links=False,
    )  # fmt: skip
    job_run = start.execute(context)
    sensor = EmrServerlessJobSensor(
        task_id="ended", application_id=application, job_run_id=job_run, poke_interval=0.2, timeout=60
    )
    sensor.execute(context)
    assert states(emulator) == ["SUCCESS"]
    EmrServerlessStopApplicationOperator(task_id="stop", application_id=application, **OFTEN).execute(context)
    assert [str(found.state) for found in emulator.applications()] == ["STOPPED"]
    EmrServerlessDeleteApplicationOperator(task_id="delete", application_id=application, **OFTEN).execute(context)
    assert [str(found.state) for found in emulator.applications()] == ["TERMINATED"]


def test_a_failed_job_run_fails_the_task_and_the_sensor(emulator: Emulator, context: Any) -> None:
    from airflow.exceptions import AirflowException
    from airflow.providers.amazon.aws.operators.emr import (
        EmrServerlessCreateApplicationOperator,
        EmrServerlessStartJobOperator,
    )
    from airflow.providers.amazon.aws.sensors.emr import EmrServerlessJobSensor

    emulator.faults.add([{"fault": "job_run_fails", "state": "SCHEDULED", "details": "no capacity"}])
    application = EmrServerlessCreateApplicationOperator(
        task_id="create", release_label="emr-7.10.0", job_type="SPARK", config={"name": "airflow"}, **OFTEN
    ).execute(context)
    start = EmrServerlessStartJobOperator(
        task_id="start", application_id=application, execution_role_arn=ROLE, job_driver=DRIVER,
        configuration_overrides=None, enable_application_ui_links=False, **OFTEN,
    )  # fmt: skip
    with pytest.raises(AirflowException):
        start.execute(context)
    assert states(emulator) == ["FAILED"]
    sensor = EmrServerlessJobSensor(task_id="ended", application_id=application, job_run_id=start.job_id)
    with pytest.raises(AirflowException, match="no capacity"):
        sensor.poke(context)
