"""Log what happens to clusters and steps in a run, each event once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from emr_pipelines.aws import links
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import join
from emr_pipelines.backends.emr.cluster import Cluster
from emr_pipelines.backends.emr.states import ENDED, UP, StepState
from emr_pipelines.backends.emr.steps import AddedStep
from emr_pipelines.report import Reporter, no_report


class RunLog:
    """The log of the run that uses a backend now.

    folder: where EMR pushes logs. log: logs what happens. warn: logs what a person should look at. report: shows what
    is waited for. on_cluster_id: called with the id of each cluster that the run gets.
    """

    def __init__(self, aws: Aws, folder: str, log: Callable[[str], None], report: Reporter = no_report) -> None:
        self._aws, self.folder = aws, folder
        self.log, self.warn, self.report = log, log, report
        self.on_cluster_id: Callable[[str], None] = lambda _: None
        self._told: set[str] = set()

    def once(self, event: str, text: str) -> None:
        if event not in self._told:
            self._told.add(event)
            self.log(text)

    def acquired(self, cluster_id: str, name: str, *, launched: bool) -> None:
        """Log a cluster's name and where to look at it."""
        self.on_cluster_id(cluster_id)
        logs = links.objects_page(self._aws.region, join(self.folder, cluster_id))
        self.once(
            f"got {cluster_id}",
            f"{'Launched' if launched else 'Found'} cluster {cluster_id} ({name}).\n"
            f"{links.cluster_page_has()}: {self.page_of(cluster_id)}\nLogs, as EMR pushes them: {logs}",
        )

    def cluster(self, cluster: Cluster, *, launched: bool) -> None:
        """Log that a cluster came up, if it was launched by this backend, or that it has ended."""
        if cluster.state in UP and cluster.created and launched:
            ready = cluster.ready or datetime.fromtimestamp(self._aws.clock.now(), timezone.utc)
            seconds = (ready - cluster.created).total_seconds()
            self.once(f"up {cluster.id}", f"Cluster {cluster.id} was provisioned after {seconds:.0f} s.")
        elif cluster.state in ENDED:
            self.once(f"end of {cluster.id}", f"C{str(cluster)[1:]}.")

    def step(self, cluster_id: str, step: AddedStep) -> None:
        """Log that a step runs, and where its logs will be."""
        if step.state is StepState.RUNNING:
            logs = self.logs_of(cluster_id, step.id)
            self.once(f"runs {step.id}", f"Step {step.id} ({step.name}) is running; its logs: {logs}/")

    def ended(self, cluster: Cluster) -> None:
        """Log the end of a cluster that was told to end, or that it has not come yet."""
        if cluster.state in ENDED:
            self.once(f"end of {cluster.id}", f"Cluster {cluster.id} is {cluster.state}.")
        else:
            self.log(
                f"Cluster {cluster.id} was told to end and is still {cluster.state}. Check that it ends: "
                f"{self.page_of(cluster.id)}"
            )

    def page_of(self, cluster_id: str) -> str:
        """The console's page of a cluster; with an empty id, of all clusters."""
        return links.cluster_page(self._aws.region, cluster_id)

    def logs_of(self, cluster_id: str, step_id: str) -> str:
        return join(self.folder, cluster_id, "steps", step_id)
