"""EMR's operations on steps."""

from __future__ import annotations

from emr_emulator import shapes
from emr_emulator.checks import Params, find_cluster, find_step, page
from emr_emulator.clock import Agenda
from emr_emulator.lifecycle import Lifecycle
from emr_emulator.protocol import invalid_request, validation_error
from emr_emulator.records import ENDING_CLUSTER, Cluster, Step, new_id
from emr_emulator.request_checks import check_runtime_role

MAX_STEP_IDS = 10
MAX_ACTIVE_STEPS = 256
MAX_STEP_CHARACTERS = 10_240


class StepOperations:
    def __init__(self, lifecycle: Lifecycle, agenda: Agenda) -> None:
        self._lifecycle = lifecycle
        self._clusters = lifecycle.clusters
        self._agenda = agenda

    def add_job_flow_steps(self, params: Params) -> Params:
        cluster = self._clusters.get(params["JobFlowId"])
        if cluster is None:
            raise validation_error("Specified job flow ID does not exist.")
        if cluster.state in ENDING_CLUSTER:
            raise validation_error("A job flow that is shutting down, terminating, or finished may not be modified.")
        if not params["Steps"]:
            raise validation_error("The Steps list cannot be empty.")
        steps = self.new_steps(cluster, params["Steps"], params.get("ExecutionRoleArn"))
        self._lifecycle.add_steps(cluster, steps)
        return {"StepIds": [step.id for step in steps]}

    def describe_step(self, params: Params) -> Params:
        return {"Step": shapes.step_details(find_step(find_cluster(self._clusters, params), params["StepId"]))}

    def list_steps(self, params: Params) -> Params:
        cluster = find_cluster(self._clusters, params)
        ids, states = params.get("StepIds"), params.get("StepStates")
        if ids and states:
            raise invalid_request("Cannot specify both StepIds and StepStates.")
        if ids:
            if len(ids) > MAX_STEP_IDS:
                raise invalid_request(f"At most {MAX_STEP_IDS} StepIds can be given; these are {len(ids)}.")
            return {"Steps": [shapes.step_summary(find_step(cluster, step_id)) for step_id in ids]}
        steps, marker = page(reversed(cluster.steps.values()), params, lambda step: not states or step.state in states)
        return {"Steps": [shapes.step_summary(step) for step in steps], "Marker": marker}

    def cancel_steps(self, params: Params) -> Params:
        cluster = find_cluster(self._clusters, params)
        if not 1 <= len(params["StepIds"]) <= MAX_ACTIVE_STEPS:
            raise invalid_request(f"1 to {MAX_ACTIVE_STEPS} StepIds can be given; these are {len(params['StepIds'])}.")
        steps = [find_step(cluster, step_id) for step_id in params["StepIds"]]
        kill = params.get("StepCancellationOption") == "TERMINATE_PROCESS"
        answers = []
        for step in steps:
            refused = self._lifecycle.cancel(cluster, step, kill)
            answers.append({"StepId": step.id, "Status": "FAILED" if refused else "SUBMITTED", "Reason": refused})
        self._lifecycle.add_steps(cluster, [])  # the cancelled step may have been the last one
        return {"CancelStepsInfoList": answers}

    def new_steps(self, cluster: Cluster, configs: list[Params], execution_role: str | None) -> list[Step]:
        """Check the steps of a request and return them; they are not added to the cluster. Raises ServiceError."""
        check_runtime_role(execution_role, cluster.request.get("SecurityConfiguration"), cluster.release)
        active = len(cluster.pending) + len(cluster.active)
        if active + len(configs) > MAX_ACTIVE_STEPS:
            raise validation_error(
                "Maximum number of active steps(State = 'Running', 'Pending' or 'Cancel_Pending') for cluster exceeded."
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
