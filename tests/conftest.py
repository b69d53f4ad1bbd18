"""What all tests share: one Spark session, one S3 endpoint, and an environment without surprises."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
import pytest
from hypothesis import HealthCheck, settings

from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from emr_emulator import Emulator

# before any test and any Spark worker: no test may see the developer's own settings, or reach AWS
for name in [
    name
    for name in os.environ
    if name.startswith(("EMR_PIPELINES_", "AWS_", "DAGSTER_", "SPARK_", "PYSPARK_", "HADOOP_"))
]:
    del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
}

# Background jobs of a script ignore SIGINT, and Dagster would then ignore SIGTERM too, as would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No example of a property test is too slow: the machine may be.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the whole suite, the tests marked `extended` included")
    browser = parser.getgroup("browser")
    browser.addoption("--browser-required", action="store_true", help="fail instead of skipping without a browser")
    browser.addoption("--screenshots", type=Path, metavar="DIR", help="folder for the documentation's pictures")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the suite. Files that are named run in this one, where their output and a debugger work."""
    return 2 if config.args_source is config.ArgsSource.TESTPATHS else 0


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names of tests that are the same in each process: gzip data has the time in it."""
    return argname if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the extended tests, unless --all or a test's own name (`file.py::test`) asks for them."""
    if config.getoption("--all") or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("extended")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("extended")]


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Emulator]:
    """The emulator where AWS_ENDPOINT_URL points."""
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
    """The session that programs, assets and runners share."""
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


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
