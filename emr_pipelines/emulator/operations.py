"""EMR's operations: what each accepts, refuses and answers."""

from __future__ import annotations

from botocore import xform_name

from emr_pipelines.emulator import releases, shapes
from emr_pipelines.emulator.checks import (
    Params,
    check_release,
    checked_concurrency,
    checked_idle_timeout,
    checked_scaling,
    checked_tags,
    page,
    release_token,
    seconds,
)
from emr_pipelines.emulator.clock import Agenda
from emr_pipelines.emulator.instances import is_multi_primary, make_groups, make_instances
from emr_pipelines.emulator.lifecycle import Lifecycle
from emr_pipelines.emulator.protocol import ServiceError, invalid_request, service_model, validation_error
from emr_pipelines.emulator.records import (
    ENDED_CLUSTER,
    ENDING_CLUSTER,
    Cluster,
    Instance,
    ReasonCode,
    Step,
    new_id,
)

MAX_STEP_IDS = 10
MAX_JOB_FLOW_IDS = 10
MAX_ACTIVE_STEPS = 256
MAX_STEP_CHARACTERS = 10_240
MAX_BOOTSTRAP_ACTIONS = 16


class Operations:
    """The methods are EMR's operations, by boto3's names for them."""

    def __init__(self, lifecycle: Lifecycle, agenda: Agenda, account: str) -> None:
        self._lifecycle = lifecycle
        self._clusters = lifecycle.clusters
        self._agenda = agenda
        self._account = account

    def call(self, operation: str, params: Params, region: str) -> Params:
        """Answer a checked request. Raises ServiceError."""
        method = getattr(self, xform_name(operation), None)
        if method is None:
            names = ", ".join(name for name in service_model().operation_names if hasattr(self, xform_name(name)))
            raise ServiceError(
                "UnknownOperationException",
                f"{operation} is not emulated; emulated are {names}.",
                error_code="NotEmulated",
            )
        with self._agenda.lock:
            self._agenda.run_due()
            answer: Params = method(params, region) if operation in NEED_REGION else method(params)
            return answer

    # clusters

    def run_job_flow(self, params: Params, region: str) -> Params:
        groups = make_groups(params)
        asked = params["Instances"]
        multi_primary = is_multi_primary(groups)
        check_release(params)
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
            scaling=checked_scaling(params.get("ManagedScalingPolicy")),
        )
        if "AutoTerminationPolicy" in params:
            cluster.idle_timeout = checked_idle_timeout(cluster, params["AutoTerminationPolicy"])
        steps = self._new_steps(cluster, params.get("Steps", []), params.get("StepExecutionRoleArn"))
        self._lifecycle.launch(cluster)
        self._lifecycle.add_steps(cluster, steps)
        return {"JobFlowId": cluster.id, "ClusterArn": shapes.cluster_arn(cluster, region, self._account)}

    def describe_cluster(self, params: Params, region: str) -> Params:
        cluster = self._cluster(params)
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
        cluster = self._cluster(params)
        if cluster.state in ENDING_CLUSTER:
            raise invalid_request(f"Cluster {cluster.id} is {cluster.state} and cannot be modified.")
        if "StepConcurrencyLevel" in params:
            level = checked_concurrency(params["StepConcurrencyLevel"], invalid_request)
            if level > 1 and any(step.action_on_failure != "CONTINUE" for step in cluster.pending):
                raise invalid_request(
                    "StepConcurrencyLevel above 1 needs ActionOnFailure CONTINUE on all pending steps."
                )
            cluster.concurrency = level
            self._lifecycle.add_steps(cluster, [])  # there may be room for more now
        return {"StepConcurrencyLevel": cluster.concurrency, "ExtendedSupport": params.get("ExtendedSupport")}

    def add_tags(self, params: Params) -> Params:
        cluster = self._cluster({"ClusterId": params["ResourceId"]})
        cluster.tags.update(checked_tags(params["Tags"], invalid_request))
        return {}

    def remove_tags(self, params: Params) -> Params:
        cluster = self._cluster({"ClusterId": params["ResourceId"]})
        for key in params["TagKeys"]:
            cluster.tags.pop(key, None)
        return {}

    # steps

    def add_job_flow_steps(self, params: Params) -> Params:
        cluster = self._clusters.get(params["JobFlowId"])
        if cluster is None:
            raise validation_error("Specified job flow ID does not exist.")
        if cluster.state in ENDING_CLUSTER:
            raise validation_error("A job flow that is shutting down, terminating, or finished may not be modified.")
        if not params["Steps"]:
            raise validation_error("The Steps list cannot be empty.")
        steps = self._new_steps(cluster, params["Steps"], params.get("ExecutionRoleArn"))
        self._lifecycle.add_steps(cluster, steps)
        return {"StepIds": [step.id for step in steps]}

    def describe_step(self, params: Params) -> Params:
        return {"Step": shapes.step_details(self._step(self._cluster(params), params["StepId"]))}

    def list_steps(self, params: Params) -> Params:
        cluster = self._cluster(params)
        ids, states = params.get("StepIds"), params.get("StepStates")
        if ids and states:
            raise invalid_request("Cannot specify both StepIds and StepStates.")
        if ids:
            if len(ids) > MAX_STEP_IDS:
                raise invalid_request(f"At most {MAX_STEP_IDS} StepIds can be given; these are {len(ids)}.")
            return {"Steps": [shapes.step_summary(self._step(cluster, step_id)) for step_id in ids]}
        steps, marker = page(reversed(cluster.steps.values()), params, lambda step: not states or step.state in states)
        return {"Steps": [shapes.step_summary(step) for step in steps], "Marker": marker}

    def cancel_steps(self, params: Params) -> Params:
        cluster = self._cluster(params)
        if not 1 <= len(params["StepIds"]) <= MAX_ACTIVE_STEPS:
            raise invalid_request(f"1 to {MAX_ACTIVE_STEPS} StepIds can be given; these are {len(params['StepIds'])}.")
        steps = [self._step(cluster, step_id) for step_id in params["StepIds"]]
        kill = params.get("StepCancellationOption") == "TERMINATE_PROCESS"
        answers = []
        for step in steps:
            refused = self._lifecycle.cancel(cluster, step, kill)
            answers.append({"StepId": step.id, "Status": "FAILED" if refused else "SUBMITTED", "Reason": refused})
        self._lifecycle.add_steps(cluster, [])  # a cancelled step may have been the last
        return {"CancelStepsInfoList": answers}

    # machines

    def list_instances(self, params: Params) -> Params:
        cluster = self._cluster(params)
        group = params.get("InstanceGroupId") or params.get("InstanceFleetId")
        roles = params.get("InstanceGroupTypes") or (
            [params["InstanceFleetType"]] if "InstanceFleetType" in params else []
        )
        states = params.get("InstanceStates")

        def wanted(instance: Instance) -> bool:
            return (
                (not group or instance.group_id == group)
                and (not roles or instance.role in roles)
                and (not states or instance.state in states)
            )

        instances, marker = page(cluster.instances, params, wanted)
        fleet = cluster.groups[0].fleet
        return {"Instances": [shapes.instance_shape(instance, fleet) for instance in instances], "Marker": marker}

    def list_instance_groups(self, params: Params) -> Params:
        cluster = self._cluster(params)
        if cluster.groups[0].fleet:
            raise invalid_request(
                "Instance fleets and instance groups are mutually exclusive; this cluster has fleets."
            )
        groups, marker = page(cluster.groups, params)
        return {"InstanceGroups": [shapes.group_shape(cluster, group) for group in groups], "Marker": marker}

    def list_instance_fleets(self, params: Params) -> Params:
        cluster = self._cluster(params)
        if not cluster.groups[0].fleet:
            raise invalid_request(
                "Instance fleets and instance groups are mutually exclusive; this cluster has groups."
            )
        return {"InstanceFleets": [shapes.fleet_shape(cluster, group) for group in cluster.groups]}

    def list_bootstrap_actions(self, params: Params) -> Params:
        actions = self._cluster(params).request.get("BootstrapActions", [])
        shown = [{"Name": action["Name"], **action["ScriptBootstrapAction"]} for action in actions]
        return {
            "BootstrapActions": [
                {"Name": action["Name"], "ScriptPath": action["Path"], "Args": action.get("Args", [])}
                for action in shown
            ]
        }

    # policies

    def put_auto_termination_policy(self, params: Params) -> Params:
        cluster = self._living(params)
        cluster.idle_timeout = checked_idle_timeout(cluster, params.get("AutoTerminationPolicy", {}))
        self._lifecycle.watch_idleness(cluster)
        return {}

    def get_auto_termination_policy(self, params: Params) -> Params:
        timeout = self._cluster(params).idle_timeout
        return {} if timeout is None else {"AutoTerminationPolicy": {"IdleTimeout": timeout}}

    def remove_auto_termination_policy(self, params: Params) -> Params:
        self._living(params).idle_timeout = None
        return {}

    def put_managed_scaling_policy(self, params: Params) -> Params:
        self._living(params).scaling = checked_scaling(params["ManagedScalingPolicy"])
        return {}

    def get_managed_scaling_policy(self, params: Params) -> Params:
        return {"ManagedScalingPolicy": self._cluster(params).scaling}

    def remove_managed_scaling_policy(self, params: Params) -> Params:
        self._living(params).scaling = None
        return {}

    # releases

    def list_release_labels(self, params: Params) -> Params:
        filters = params.get("Filters", {})
        application = filters.get("Application", "").lower()
        labels = [
            label
            for label in releases.SPARK_AND_HADOOP
            if label.startswith(filters.get("Prefix", ""))
            and (
                not application
                or any(
                    application in (entry["Name"].lower(), f"{entry['Name']}-{entry['Version']}".lower())
                    for entry in releases.applications(label)
                )
            )
        ]
        start = release_token(params.get("NextToken"), labels)
        end = start + params.get("MaxResults", 100)
        return {"ReleaseLabels": labels[start:end], "NextToken": labels[end] if end < len(labels) else None}

    def describe_release_label(self, params: Params) -> Params:
        label = params.get("ReleaseLabel", next(iter(releases.SPARK_AND_HADOOP)))
        if label not in releases.SPARK_AND_HADOOP:
            raise invalid_request(f"Release label {label!r} is not valid.")
        return {
            "ReleaseLabel": label,
            "Applications": releases.applications(label),
            "AvailableOSReleases": [{"Label": releases.OS_RELEASE}],
        }

    # what is asked for

    def _cluster(self, params: Params) -> Cluster:
        cluster = self._clusters.get(params["ClusterId"])
        if cluster is None:
            raise invalid_request(f"Cluster id '{params['ClusterId']}' is not valid.")
        return cluster

    def _living(self, params: Params) -> Cluster:
        cluster = self._cluster(params)
        if cluster.state in ENDING_CLUSTER:
            raise validation_error(f"Cluster {cluster.id} is {cluster.state}; its policies cannot be changed.")
        return cluster

    def _step(self, cluster: Cluster, step_id: str) -> Step:
        step = cluster.steps.get(step_id)
        if step is None:
            raise invalid_request(f"Step id '{step_id}' is not valid.")
        return step

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

    def _new_steps(self, cluster: Cluster, configs: list[Params], execution_role: str | None) -> list[Step]:
        active = len(cluster.pending) + len(cluster.active)
        if active + len(configs) > MAX_ACTIVE_STEPS:
            raise validation_error(
                f"A cluster can have {MAX_ACTIVE_STEPS} active steps (PENDING, RUNNING or CANCEL_PENDING); "
                f"{active} are active and {len(configs)} more were given."
            )
        return [self._new_step(cluster, config, execution_role) for config in configs]

    def _new_step(self, cluster: Cluster, config: Params, execution_role: str | None) -> Step:
        jar = config["HadoopJarStep"]
        properties = {entry.get("Key", ""): entry.get("Value", "") for entry in jar.get("Properties", [])}
        strings = [jar["Jar"], jar.get("MainClass", ""), *jar.get("Args", []), *properties, *properties.values()]
        characters = sum(len(text) for text in strings)
        if characters > MAX_STEP_CHARACTERS:
            raise validation_error(
                f"The strings of a HadoopJarStep may have {MAX_STEP_CHARACTERS} characters in all; those of step "
                f"{config['Name']!r} have {characters}."
            )
        action = config.get("ActionOnFailure", "TERMINATE_JOB_FLOW" if cluster.concurrency == 1 else "CONTINUE")
        if cluster.concurrency > 1 and action != "CONTINUE":
            raise validation_error(
                f"A cluster with a StepConcurrencyLevel above 1 accepts only ActionOnFailure CONTINUE; step "
                f"{config['Name']!r} has {action}."
            )
        return Step(
            id=new_id("s-"),
            name=config["Name"],
            jar=jar["Jar"],
            args=tuple(jar.get("Args", [])),
            main_class=jar.get("MainClass"),
            properties=properties,
            action_on_failure=action,
            created=self._agenda.now(),
            execution_role=execution_role,
        )


NEED_REGION = frozenset({"RunJobFlow", "DescribeCluster", "ListClusters"})  # their answers have an ARN
