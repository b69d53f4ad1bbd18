"""The command `emr-emulator`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import yaml

from emr_emulator.buckets import InvalidBucket
from emr_emulator.emulator import Emulator, RootUnusable
from emr_emulator.faults import InvalidFault, read_faults
from emr_emulator.server import AddressInUse
from emr_emulator.sparks import SparkUnusable, find_sparks
from emr_emulator.steps import Scripted


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="emr-emulator")
@click.option(
    "--port", default=5566, show_default=True, type=click.IntRange(0, 65_535), help="The port; 0 chooses a free one."
)
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="Keep buckets and logs in this folder.")
@click.option(
    "--speed",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.001, 1_000_000),
    help="How much faster than EMR clusters start, end, and push their logs to S3.",
)
@click.option(
    "--spark-master",
    default="local-cluster[2,1,1024]",
    show_default=True,
    help="Spark's master for the steps: local[n], or local-cluster[executors,cores,MiB].",
)
@click.option(
    "--spark",
    "other_sparks",
    multiple=True,
    metavar="LINE=PATH",
    help="Another Spark for the releases of its line, such as 3.5=/opt/venv: the path of a virtual environment with "
    "pyspark, or of a Spark's folder. May be repeated.",
)
@click.option(
    "--python", type=click.Path(exists=True, dir_okay=False), help="The Python for the steps; by default this one."
)
@click.option("--bucket", "buckets", multiple=True, help="Create this bucket if it does not exist. May be repeated.")
@click.option(
    "--succeed",
    "commands",
    multiple=True,
    metavar="COMMAND",
    help="Make steps succeed whose command cannot run here, such as hive-script. May be repeated.",
)
@click.option(
    "--faults",
    "faults_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file with the failures to inject.",
)
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the clients' environment to this file.",
)
def main(
    port: int,
    root: Path | None,
    speed: float,
    spark_master: str,
    other_sparks: tuple[str, ...],
    python: str | None,
    buckets: tuple[str, ...],
    commands: tuple[str, ...],
    faults_file: Path | None,
    env_file: Path | None,
) -> None:
    """Rehearse EMR on this machine: an endpoint for EMR, EMR Serverless, S3 and STS that runs steps with this Spark.

    Ctrl-C ends it and every process that it started.
    """
    try:
        sparks = find_sparks(spark_master, _lines(other_sparks), python)
        running = Emulator(
            root,
            port=port,
            speed=speed,
            spark=sparks,
            scripted={command: Scripted() for command in commands},
            faults=read_faults(_yaml(faults_file)) if faults_file else [],
            say=click.echo,
        )
    except (
        AddressInUse,
        InvalidFault,
        RootUnusable,
        SparkUnusable,
    ) as error:
        raise click.ClickException(str(error)) from error
    with _interruptions() as interrupted, running:
        try:
            for bucket in buckets:
                running.create_bucket(bucket)
        except InvalidBucket as error:
            raise click.ClickException(str(error)) from error
        _introduce(running, env_file)
        interrupted.wait()
        click.echo("Ending what runs.")


def _lines(given: tuple[str, ...]) -> dict[str, str]:
    """Read what --spark says. Raises SparkUnusable."""
    for text in given:
        if "=" not in text:
            raise SparkUnusable(f"--spark is {text!r}; allowed is LINE=PATH, such as 3.5=/opt/venv.")
    return dict(text.split("=", 1) for text in given)


def _yaml(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} is not YAML: {error}") from error


def _introduce(emulator: Emulator, env_file: Path | None) -> None:
    exports = "".join(f"export {name}={value}\n" for name, value in emulator.environment.items())
    if env_file is not None:
        try:
            env_file.write_text(exports)
        except OSError as error:
            raise click.ClickException(f"{env_file} cannot be written: {error.strerror}.") from error
    click.echo(f"EMR, EMR Serverless, S3 and STS are at {emulator.url}, and a page at {emulator.url}/_emulator/\n")
    click.echo("In another terminal:\n")
    click.echo(f"source {env_file}\n" if env_file is not None else exports)


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Return an event that Ctrl-C, SIGTERM and SIGHUP set, so that no exception interrupts other code."""
    interrupted = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: interrupted.set()) for number in numbers}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
