"""A job run as a step: its spark-submit command, the settings that hold for it, and where its logs go."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

from emr_emulator.logs import Logs
from emr_emulator.records import Cluster, ClusterState, Step
from emr_emulator.serverless.records import Application, JobRun

DRIVER_ENV = "spark.emr-serverless.driverEnv."
MASTER_ENV = "spark.yarn.appMasterEnv."  # what a driver in a container gets on YARN
OWN = "spark.emr-serverless."
TAIL_BYTES = 16_384
EXCEPTION = re.compile(r"(Caused by: )?[A-Za-z_][\w.$]*(Error|Exception|Exit)\b")


class InvalidParameters(ValueError):
    """sparkSubmitParameters that cannot be read."""


def words_of(request: dict[str, Any]) -> list[str]:
    """Return the words of sparkSubmitParameters. Raises InvalidParameters."""
    told = request["jobDriver"]["sparkSubmit"].get("sparkSubmitParameters", "")
    try:
        return shlex.split(told)
    except ValueError as error:
        raise InvalidParameters(f"sparkSubmitParameters cannot be read: {error}.") from error


def settings_of(application: Application, request: dict[str, Any]) -> dict[str, str]:
    """Return Spark's settings: the application's, then the job run's own, then those of spark-submit."""
    found: dict[str, str] = {}
    for entry in configurations_of(application, request):
        if entry["classification"] == "spark-defaults":
            found |= entry.get("properties", {})
    words = words_of(request)
    for option, value in pairwise(words):
        if option in ("--conf", "-c") and "=" in value:
            name, _, text = value.partition("=")
            found[name] = text
    return found


def configurations_of(application: Application, request: dict[str, Any]) -> list[dict[str, Any]]:
    own = request.get("configurationOverrides", {}).get("applicationConfiguration", [])
    return [*application.request.get("runtimeConfiguration", []), *own]


def log_uri_of(application: Application, request: dict[str, Any]) -> str | None:
    """Return where on S3 the logs go, if anywhere; what the job run says counts before the application's."""
    overrides = request.get("configurationOverrides", {})
    for told in (overrides, application.request):
        s3 = told.get("monitoringConfiguration", {}).get("s3MonitoringConfiguration", {})
        if s3.get("logUri"):
            return str(s3["logUri"])
    return None


def as_cluster(application: Application, run: JobRun) -> Cluster:
    """Return what the code that runs steps needs to know: release, settings, and the logs' place."""
    configurations = [
        {"Classification": entry["classification"], "Properties": _translated(entry.get("properties", {}))}
        for entry in configurations_of(application, run.request)
    ]
    request = {
        "ReleaseLabel": application.release,
        "Applications": [{"Name": "Spark"}],
        "Configurations": configurations,
        "LogUri": log_uri_of(application, run.request),
    }
    attempt = f"/attempts/{run.attempt}" if run.attempt > 1 else ""
    name = f"applications/{application.id}/jobs/{run.id}{attempt}"
    cluster = Cluster(name, run.names[1] or run.id, request, run.created, [], [], {}, False, False, 1)
    cluster.state = ClusterState.RUNNING
    return cluster


def as_step(run: JobRun) -> Step:
    """Return spark-submit in cluster mode, for the driver is in a container of its own, as executors are."""
    driver = run.request["jobDriver"]["sparkSubmit"]
    words = words_of(run.request)
    options = [
        _translated_setting(word) if before in ("--conf", "-c") else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    command = ["spark-submit", "--deploy-mode", "cluster", *options]
    entry_point = driver["entryPoint"].removeprefix("local://")  # a file of Spark's image
    args = (*command, entry_point, *driver.get("entryPointArguments", []))
    return Step(run.id, run.names[1], "command-runner.jar", args, None, {}, "CONTINUE", run.created)


def _translated(properties: dict[str, str]) -> dict[str, str]:
    return {
        name.replace(DRIVER_ENV, MASTER_ENV): value
        for name, value in properties.items()
        if name.startswith(DRIVER_ENV) or not name.startswith(OWN)
    }


def _translated_setting(setting: str) -> str:
    if setting.startswith(DRIVER_ENV):
        return setting.replace(DRIVER_ENV, MASTER_ENV, 1)
    return f"spark.yarn.{setting}" if setting.startswith(OWN) else setting  # which the emulator leaves out


class JobLogs(Logs):
    """Logs in the layout of EMR Serverless: SPARK_DRIVER/stdout, SPARK_EXECUTOR/1/stderr."""

    def of_step(self, cluster: Cluster, step: Step) -> Path:
        """Return where spark-submit's own output goes, which a user of EMR Serverless does not see."""
        return self.root / "submitted" / cluster.id.replace("/", "-") / step.id

    def of_driver(self, cluster: Cluster, step: Step) -> Path:
        return self.of_container(cluster, step.application_id or "", 1)

    def of_container(self, cluster: Cluster, application_id: str, number: int) -> Path:  # noqa: ARG002 (one job run)
        folder = self.of_cluster(cluster)
        return folder / "SPARK_DRIVER" if number == 1 else folder / "SPARK_EXECUTOR" / str(number - 1)

    def last_exception(self, cluster: Cluster) -> str:
        """Return the last line of the driver's output that names an exception; empty if there is none."""
        found = ""
        for name in ("stderr", "stdout"):
            path = self.of_container(cluster, "", 1) / name
            if not path.is_file():
                continue
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
            found = next((line for line in reversed(lines) if EXCEPTION.match(line)), found)
        return found
