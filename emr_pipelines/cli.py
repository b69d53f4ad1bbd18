"""The command line: `emr-pipelines emulator | clusters | jobruns | applications | doctor`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import DEFAULT_DEPLOYMENT
from emr_pipelines.aws.findings import DoctorContext
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.orphans import Outcome, choose, end, find_orphans, rows
from emr_pipelines.backends.emr_serverless import orphans as serverless
from emr_pipelines.backends.emr_serverless import search
from emr_pipelines.backends.emr_serverless.applications import Applications
from emr_pipelines.backends.emr_serverless.job_runs import JobRuns
from emr_pipelines.backends.names import is_ours, prefix_of
from emr_pipelines.backends.orphans import RunIs
from emr_pipelines.doctor import BAD, PATIENCE_SECONDS, run_checks
from emr_pipelines.errors import EmrPipelinesError, JavaNotUsable
from emr_pipelines.report import Lines, Reporter
from emr_pipelines.runners.java import find_java


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="emr-pipelines")
def main() -> None:
    """PySpark programs as Dagster assets, on this machine, on Amazon EMR, or on EMR Serverless."""


@main.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True}, short_help="Rehearse EMR on this machine."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def emulator(arguments: tuple[str, ...]) -> None:
    """Rehearse EMR on this machine: the command `emr-emulator`, with the Java that this project's local Spark uses."""
    try:
        from emr_emulator.cli import main as emulate
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"The emulator needs the package {error.name!r}; install it with pip install 'emr-pipelines[emulator]'."
        ) from error
    try:
        os.environ["JAVA_HOME"] = find_java(lambda warning: click.echo(warning, err=True))
    except JavaNotUsable as error:
        raise click.ClickException(str(error)) from error
    emulate.main(list(arguments), prog_name="emr-pipelines emulator", standalone_mode=False)


DEPLOYMENT = click.option(
    "--deployment",
    envvar="EMR_PIPELINES_DEPLOYMENT",
    default=DEFAULT_DEPLOYMENT,
    show_default=True,
    help="The deployment. [env: EMR_PIPELINES_DEPLOYMENT]",
)
REGION = click.option("--region", help="The AWS region; by default the one of the environment or the AWS profile.")


@main.group()
def clusters() -> None:
    """List and terminate the EMR clusters that this package launched."""


@clusters.command("list")
@DEPLOYMENT
@click.option("--all", "of_all", is_flag=True, help="Show the clusters of all deployments in this account and region.")
@REGION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_clusters(deployment: str, of_all: bool, region: str | None, as_json: bool) -> None:
    """List the clusters that can still cost money, newest first."""
    with _said_shortly():
        aws = Aws(region)
        active = Clusters(aws).active()
        ours = [cluster for cluster in active if is_ours(cluster.name, "" if of_all else deployment)]
        found = rows(ours, aws.clock.now())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif found:
        table = [{**row, "age": _duration(row["age_seconds"])} for row in found]
        _print_table(table, ("id", "state", "age", "deployment", "scope", "key", "normalized_hours"))
    else:
        whose = "of any deployment" if of_all else f"of deployment {deployment!r}"
        others = f"; {len(active):,} other{'s are' if len(active) > 1 else ' is'}" if active else ""
        hint = "" if of_all or not active else " (--all shows those of other deployments)"
        click.echo(f"No cluster {whose} is active{others}{hint}.")


def _print_table(table: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    lines = [[name.replace("_", " ").upper() for name in columns]]
    lines += [[str(row[name]) for name in columns] for row in table]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


@clusters.command()
@click.argument("ids", nargs=-1)
@click.option(
    "--older-than", type=click.FloatRange(0), metavar="HOURS", help="Also the deployment's clusters older than this."
)
@DEPLOYMENT
@REGION
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option("--force", is_flag=True, help="Also terminate clusters that this package did not launch.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the clusters to end.")
def terminate(
    ids: tuple[str, ...],
    older_than: float | None,
    deployment: str,
    region: str | None,
    yes: bool,
    force: bool,
    no_wait: bool,
) -> None:
    """Terminate clusters by id. Exits with 1 if one of them could not be terminated."""
    if not ids and older_than is None:
        raise click.UsageError(
            "Give the IDS of clusters, as `emr-pipelines clusters list` shows them, or --older-than."
        )
    with _said_shortly():
        api = Clusters(aws := Aws(region))
        chosen, refusals = choose(api, ids, force)
        all_went_well = _told(refusals)
        if older_than is not None:
            active = api.active(prefix_of(deployment))
            orphans = find_orphans(active, lambda _: RunIs.UNFINISHED, aws.clock.now(), 3600 * older_than)
            chosen |= {orphan.cluster.id: orphan.cluster for orphan in orphans}
        for row in rows(chosen.values(), aws.clock.now()):
            click.echo(f"{row['id']}  {row['state']}  {row['name']}  {_duration(row['age_seconds'])} old")
        if chosen and not yes:
            click.confirm(f"End {len(chosen)} cluster{'s' * (len(chosen) > 1)}?", abort=True)
        all_went_well &= _told(end(api, chosen, wait=not no_wait, report=_reporter(aws.clock.now)))
    if not chosen and all_went_well:
        click.echo("There is no cluster to end.")
    if not all_went_well:
        raise click.exceptions.Exit(1)


def _told(outcomes: Iterable[Outcome]) -> bool:
    """Print all outcomes, and return whether all are good."""
    bad = 0
    for outcome in outcomes:
        click.echo(outcome.sentence, err=not outcome.good)
        bad += not outcome.good
    return not bad


def _duration(seconds: int) -> str:
    minutes = seconds // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


@main.group()
def jobruns() -> None:
    """List and cancel job runs on EMR Serverless, and open their Spark UI."""


@jobruns.command("list")
@DEPLOYMENT
@click.option("--all", "of_all", is_flag=True, help="Show those of all deployments in this account and region.")
@REGION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_job_runs(deployment: str, of_all: bool, region: str | None, as_json: bool) -> None:
    """List the job runs that can still cost money."""
    with _said_shortly():
        aws = Aws(region)
        found = serverless.rows(search.active_job_runs(aws, "" if of_all else deployment), aws.clock.now())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif found:
        table = [{**row, "age": _duration(row["age_seconds"])} for row in found]
        _print_table(table, ("id", "application", "state", "age", "deployment", "name"))
    else:
        click.echo(f"No job run {'of any deployment' if of_all else f'of deployment {deployment!r}'} is active.")


@jobruns.command()
@click.argument("ids", nargs=-1, required=True)
@REGION
@click.option("--yes", is_flag=True, help="Do not ask first.")
def cancel(ids: tuple[str, ...], region: str | None, yes: bool) -> None:
    """Cancel job runs by id."""
    with _said_shortly():
        aws = Aws(region)
        chosen = [search.locate(aws, job_run_id) for job_run_id in ids]
        for run in chosen:
            click.echo(f"{run.id}  {run.state}  {run.name}")
        if not yes:
            click.confirm(f"Cancel {len(chosen)} job run{'s' * (len(chosen) > 1)}?", abort=True)
        for run in chosen:
            JobRuns(aws).cancel(run.id, serverless.CANCEL_GRACE_SECONDS)
            click.echo(f"Job run {run.id} was told to end.")


@jobruns.command()
@click.argument("job_run_id", metavar="ID")
@REGION
def dashboard(job_run_id: str, region: str | None) -> None:
    """Print a link to a job run's Spark UI, which is valid for an hour; also after its end."""
    with _said_shortly():
        aws = Aws(region)
        click.echo(JobRuns(aws).dashboard(search.locate(aws, job_run_id).id))


@main.group()
def applications() -> None:
    """List and stop the applications on EMR Serverless that this package made."""


@applications.command("list")
@DEPLOYMENT
@REGION
def list_applications(deployment: str, region: str | None) -> None:
    """List the applications of a deployment. One that is stopped costs nothing."""
    with _said_shortly():
        found = list(search.applications_of(Aws(region), deployment))
    table = [{"id": one.id, "state": str(one.state), "release": one.release, "name": one.name} for one in found]
    if table:
        _print_table(table, ("id", "state", "release", "name"))
    else:
        click.echo(f"Deployment {deployment!r} has no application.")


@applications.command()
@click.argument("application_id", metavar="ID")
@REGION
def stop(application_id: str, region: str | None) -> None:
    """Stop an application that has no active job runs. The next job run starts it again."""
    with _said_shortly():
        Applications(Aws(region)).stop(application_id)
    click.echo(f"Application {application_id} was told to stop.")


@main.command()
@REGION
def doctor(region: str | None) -> None:
    """Check whether programs can run on EMR from here, and say what to do if not. Launches nothing."""
    with _said_shortly():
        from emr_pipelines.storage.address import resolve  # with Dagster, which takes more than a second

        setup = DoctorContext(Aws(region, within_seconds=PATIENCE_SECONDS), os.environ, lambda: resolve(""))
        findings = run_checks(setup, report=_reporter())
    for finding in findings:
        click.echo(str(finding))
    if any(finding.verdict in BAD for finding in findings):
        raise click.exceptions.Exit(1)


def _reporter(now: Callable[[], float] = time.monotonic) -> Reporter:
    """Return a reporter for stderr: a bar in a terminal, lines elsewhere."""
    from emr_pipelines.terminal import Bars, is_able

    if is_able(sys.stderr):
        return Bars(sys.stderr)
    return Lines(lambda line: click.echo(line, err=True), now)


@contextmanager
def _said_shortly() -> Iterator[None]:
    """Turn this package's errors into one sentence without a stack trace."""
    try:
        yield
    except EmrPipelinesError as error:
        raise click.ClickException(str(error)) from error
