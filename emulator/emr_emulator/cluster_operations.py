"""EMR's operations on clusters, their tags and their policies."""

from __future__ import annotations

from emr_emulator import shapes
from emr_emulator.checks import (
    Params,
    check_release,
    checked_concurrency,
    checked_idle_timeout,
    find_cluster,
    find_living,
    page,
    seconds,
)
from emr_emulator.clock import Agenda
from emr_emulator.instances import is_multi_primary, make_groups, make_instances
from emr_emulator.lifecycle import Lifecycle
from emr_emulator.protocol import invalid_request, validation_error
from emr_emulator.records import ENDED_CLUSTER, ENDING_CLUSTER, Cluster, ReasonCode, new_id
from emr_emulator.request_checks import check_request, check_scaling, checked_tags
from emr_emulator.step_operations import StepOperations

MAX_JOB_FLOW_IDS = 10
MAX_BOOTSTRAP_ACTIONS = 16


class ClusterOperations:
    def __init__(self, lifecycle: Lifecycle, agenda: Agenda, account: str, steps: StepOperations) -> None:
        self._lifecycle = lifecycle
        self._clusters = lifecycle.clusters
        self._agenda = agenda
        self._account = account
        self._steps = steps

    def run_job_flow(self, params: Params, region: str) -> Params:
        groups = make_groups(params)
        asked = params["Instances"]
        multi_primary = is_multi_primary(groups)
        check_release(params)
        check_request(params)
        for role in ("ServiceRole", "JobFlowRole"):
            if role not in params:
                what = "InstanceProfile" if role == "JobFlowRole" else role
                raise validation_error(f"{what} is required for creating cluster.")
        concurrency = checked_concurrency(params.get("StepConcurrencyLevel", 1))
        if len(params.get("BootstrapActions", [])) > MAX_BOOTSTRAP_ACTIONS:
            raise validation_error(f"There can be at most {MAX_BOOTSTRAP_ACTIONS} bootstrap actions.")
        if "LogUri" in params and not params["LogUri"].startswith(("s3://", "s3n://", "s3a://")):
            raise validation_error(f"The LogUri must be an S3 URI; it is {params['LogUri']!r}.")
        now = self._agenda.now()
        cluster = Cluster(
            id=new_id("j-"),
            name=params["Name"],
            request=params,
            created=now,
            groups=groups,
            instances=make_instances(groups, now),
            tags=checked_tags(params.get("Tags", [])),
            keep_alive=asked.get("KeepJobFlowAliveWhenNoSteps", False) or multi_primary,
            protected=asked.get("TerminationProtected", False) or multi_primary,
            concurrency=concurrency,
            scaling=params.get("ManagedScalingPolicy"),
        )
        if "AutoTerminationPolicy" in params:
            cluster.idle_timeout = checked_idle_timeout(cluster, params["AutoTerminationPolicy"])
        steps = self._steps.new_steps(cluster, params.get("Steps", []), params.get("StepExecutionRoleArn"))
        self._lifecycle.launch(cluster)
        self._lifecycle.add_steps(cluster, steps)
        return {"JobFlowId": cluster.id, "ClusterArn": shapes.cluster_arn(cluster, region, self._account)}

    def describe_cluster(self, params: Params, region: str) -> Params:
        cluster = find_cluster(self._clusters, params)
        return {"Cluster": shapes.cluster_details(cluster, self._agenda.now(), region, self._account)}

    def list_clusters(self, params: Params, region: str) -> Params:
        after = seconds(params.get("CreatedAfter"), float("-inf"))
        before = seconds(params.get("CreatedBefore"), float("inf"))
        states = params.get("ClusterStates")

        def wanted(cluster: Cluster) -> bool:
            return after <= cluster.created <= before and (not states or cluster.state in states)

        clusters, marker = page(reversed(self._clusters.values()), params, wanted)
        now = self._agenda.now()
        summaries = [shapes.cluster_summary(cluster, now, region, self._account) for cluster in clusters]
        return {"Clusters": summaries, "Marker": marker}

    def terminate_job_flows(self, params: Params) -> Params:
        clusters = self._job_flows(params)
        protected = [cluster.id for cluster in clusters if cluster.protected and cluster.state not in ENDING_CLUSTER]
        if protected:
            raise validation_error(
                "Could not shut down one or more job flows since they are termination protected: "
                + ", ".join(protected)
            )
        for cluster in clusters:
            self._lifecycle.terminate(cluster, ReasonCode.USER_REQUEST, "Terminated by user request")
        return {}

    def set_termination_protection(self, params: Params) -> Params:
        for cluster in self._modifiable_job_flows(params):
            cluster.protected = params["TerminationProtected"]
        return {}

    def set_keep_job_flow_alive_when_no_steps(self, params: Params) -> Params:
        for cluster in self._modifiable_job_flows(params):
            self._lifecycle.set_keep_alive(cluster, params["KeepJobFlowAliveWhenNoSteps"])
        return {}

    def modify_cluster(self, params: Params) -> Params:
        cluster = find_cluster(self._clusters, params)
        if cluster.state in ENDING_CLUSTER:
            raise invalid_request(f"Cluster {cluster.id} is {cluster.state} and cannot be modified.")
        if "StepConcurrencyLevel" in params:
            level = checked_concurrency(params["StepConcurrencyLevel"], invalid_request)
            if level > 1 and any(step.action_on_failure != "CONTINUE" for step in cluster.pending):
                raise invalid_request(
                    "StepConcurrencyLevel above 1 needs ActionOnFailure CONTINUE on all pending steps."
                )
            cluster.concurrency = level
            self._lifecycle.add_steps(cluster, [])  # a higher concurrency may let pending steps start
        return {"StepConcurrencyLevel": cluster.concurrency, "ExtendedSupport": params.get("ExtendedSupport")}

    def add_tags(self, params: Params) -> Params:
        cluster = self._taggable(params)
        cluster.tags = checked_tags(params["Tags"], invalid_request, cluster.tags)
        return {}

    def remove_tags(self, params: Params) -> Params:
        cluster = self._taggable(params)
        for key in params["TagKeys"]:
            cluster.tags.pop(key, None)
        return {}

    def list_bootstrap_actions(self, params: Params) -> Params:
        actions = find_cluster(self._clusters, params).request.get("BootstrapActions", [])
        scripts = [(action["Name"], action["ScriptBootstrapAction"]) for action in actions]
        return {
            "BootstrapActions": [
                {"Name": name, "ScriptPath": script["Path"], "Args": script.get("Args", [])} for name, script in scripts
            ]
        }

    def _taggable(self, params: Params) -> Cluster:
        """EMR Management Guide, "Restrictions that apply to tagging resources"."""
        cluster = find_cluster(self._clusters, {"ClusterId": params["ResourceId"]})
        if cluster.state in ENDED_CLUSTER:
            raise invalid_request(f"Tags of the terminated cluster {cluster.id} cannot be changed.")
        return cluster

    def _job_flows(self, params: Params) -> list[Cluster]:
        ids = params["JobFlowIds"]
        if not 1 <= len(ids) <= MAX_JOB_FLOW_IDS:
            raise validation_error(f"1 to {MAX_JOB_FLOW_IDS} job flow IDs can be given; these are {len(ids)}.")
        if any(job_flow_id not in self._clusters for job_flow_id in ids) or len(set(ids)) < len(ids):
            raise validation_error("Specified job flow ID does not exist.")
        return [self._clusters[job_flow_id] for job_flow_id in ids]

    def _modifiable_job_flows(self, params: Params) -> list[Cluster]:
        clusters = self._job_flows(params)
        if any(cluster.state in ENDED_CLUSTER for cluster in clusters):
            raise validation_error("A job flow that is shutting down, terminating, or finished may not be modified.")
        return clusters


class PolicyOperations:
    """Operations on policies: auto-termination and managed scaling."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._clusters = lifecycle.clusters

    def put_auto_termination_policy(self, params: Params) -> Params:
        cluster = find_living(self._clusters, params)
        cluster.idle_timeout = checked_idle_timeout(cluster, params.get("AutoTerminationPolicy", {}))
        self._lifecycle.watch_idleness(cluster)
        return {}

    def get_auto_termination_policy(self, params: Params) -> Params:
        timeout = find_cluster(self._clusters, params).idle_timeout
        return {} if timeout is None else {"AutoTerminationPolicy": {"IdleTimeout": timeout}}

    def remove_auto_termination_policy(self, params: Params) -> Params:
        find_living(self._clusters, params).idle_timeout = None
        return {}

    def put_managed_scaling_policy(self, params: Params) -> Params:
        cluster = find_living(self._clusters, params)
        check_scaling(params["ManagedScalingPolicy"], cluster.groups[0].fleet)
        cluster.scaling = params["ManagedScalingPolicy"]
        return {}

    def get_managed_scaling_policy(self, params: Params) -> Params:
        return {"ManagedScalingPolicy": find_cluster(self._clusters, params).scaling}

    def remove_managed_scaling_policy(self, params: Params) -> Params:
        find_living(self._clusters, params).scaling = None
        return {}
