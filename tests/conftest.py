"""Shared fixtures: one Spark session and one S3 endpoint."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
import pytest

from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from emr_emulator import Emulator


@pytest.fixture(autouse=True)
def repeatable_jitter() -> None:
    """Seed the jitter of polls, so that a test with a simulated clock sees the same times in each run."""
    random.seed(0)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Emulator]:
    """The emulator that AWS_ENDPOINT_URL points to."""
    from emr_emulator import Emulator

    with Emulator() as emulator:
        os.environ["AWS_ENDPOINT_URL"] = emulator.url
        try:
            yield emulator
        finally:
            del os.environ["AWS_ENDPOINT_URL"]


@pytest.fixture(scope="session")
def s3(endpoint: Emulator) -> Any:  # noqa: ARG001 (the client looks where it points)
    """A boto3 client of the emulator's S3."""
    import boto3

    return boto3.client("s3", region_name="us-east-1")


@pytest.fixture(scope="session")
def spark(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:  # noqa: ARG001 (workers inherit its endpoint)
    """The session shared by programs, assets and runners."""
    home = tmp_path_factory.mktemp("spark")
    runner = LocalSparkRunner(
        master="local[2]", spark_config={"spark.local.dir": str(home), "spark.sql.shuffle.partitions": "4"}
    )
    yield runner._session(print)
    runner.teardown_after_execution(cast("dg.InitResourceContext", SimpleNamespace()))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(uri=str(tmp_path / "storage"))


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An empty folder for input text."""
    folder = tmp_path / "text"
    folder.mkdir()
    return folder
