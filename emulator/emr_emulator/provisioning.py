"""Start a cluster: provision its instances, then log its bootstrap actions, which are not run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from emr_emulator.clock import Agenda
from emr_emulator.faults import CLUSTER_FAILURES, BootstrapFails, ClusterFails, Faults, ProvisioningHangs
from emr_emulator.logs import Logs
from emr_emulator.records import Cluster, ClusterState, InstanceState, ReasonCode


@dataclass(frozen=True)
class Durations:
    """Durations in seconds. The defaults have EMR's order of magnitude."""

    provisioning: float = 240
    bootstrapping: float = 60
    termination: float = 90
    log_push_interval: float = 300
    application_creation: float = 5  # of EMR Serverless
    application_start: float = 30
    application_stop: float = 30
    worker_start: float = 60

    def divided_by(self, speed: float) -> Durations:
        return replace(self, **{field.name: getattr(self, field.name) / speed for field in fields(self)})


class Owner(Protocol):
    """Takes the cluster's transitions."""

    def set_state(self, cluster: Cluster, state: ClusterState) -> None: ...

    def proceed(self, cluster: Cluster) -> None: ...

    def terminate(self, cluster: Cluster, code: ReasonCode, message: str, error_codes: list[str]) -> None: ...


class Provisioning:
    """Takes a cluster from STARTING through BOOTSTRAPPING until it is up. Callers hold the agenda's lock."""

    def __init__(self, agenda: Agenda, durations: Durations, faults: Faults, logs: Logs, owner: Owner) -> None:
        self._agenda = agenda
        self._durations = durations
        self._faults = faults
        self._logs = logs
        self._owner = owner

    def begin(self, cluster: Cluster) -> None:
        if self._faults.strike(ProvisioningHangs, cluster=cluster.names, state=("STARTING",)):
            for instance in cluster.instances:
                instance.state = InstanceState.AWAITING_FULFILLMENT
            return
        self._agenda.after(self._durations.provisioning, lambda: self._provisioned(cluster))

    def _provisioned(self, cluster: Cluster) -> None:
        if cluster.state is not ClusterState.STARTING:
            return
        fails = self._faults.strike(ClusterFails, cluster=cluster.names)
        if fails:
            code = ReasonCode(fails.code)
            message = fails.message or CLUSTER_FAILURES[code]
            self._owner.terminate(cluster, code, message, fails.error_codes)
            return
        self._owner.set_state(cluster, ClusterState.BOOTSTRAPPING)
        for instance in cluster.instances:
            instance.state = InstanceState.BOOTSTRAPPING
        if self._faults.strike(ProvisioningHangs, cluster=cluster.names, state=("BOOTSTRAPPING",)):
            return
        self._agenda.after(self._durations.bootstrapping, lambda: self._bootstrapped(cluster))

    def _bootstrapped(self, cluster: Cluster) -> None:
        if cluster.state is not ClusterState.BOOTSTRAPPING:
            return
        fails = self._faults.strike(BootstrapFails, cluster=cluster.names)
        for number, action in enumerate(cluster.request.get("BootstrapActions", []), 1):
            failed = fails is not None and number == fails.action
            self._log_bootstrap_action(cluster, number, action, fails if failed else None)
        if fails:
            if not cluster.request.get("BootstrapActions"):
                self._log_bootstrap_action(cluster, fails.action, {"Name": "bootstrap"}, fails)
            message = f"On the master instance ({cluster.primary.ec2_id}), bootstrap action {fails.action} returned a "
            self._owner.terminate(
                cluster,
                ReasonCode.BOOTSTRAP_FAILURE,
                message + "non-zero return code",
                ["BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE"],
            )
            return
        cluster.ready = self._agenda.now()
        for instance in cluster.instances:
            instance.state, instance.ready = InstanceState.RUNNING, cluster.ready
        self._owner.proceed(cluster)

    def _log_bootstrap_action(
        self, cluster: Cluster, number: int, action: dict[str, Any], fails: BootstrapFails | None
    ) -> None:
        folder = self._logs.of_cluster(cluster) / "node" / cluster.primary.ec2_id / "bootstrap-actions" / str(number)
        code = fails.exit_code if fails else 0
        path = action.get("ScriptBootstrapAction", {}).get("Path", "")
        controller = f"INFO startExec '{path}'\nINFO the emulator runs no bootstrap actions\n"
        controller += f"INFO waitProcessCompletion ended with exit code {code} : {path}\n"
        self._logs.write(folder, controller=controller, stdout="", stderr=fails.stderr if fails else "")
