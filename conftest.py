"""What the tests of this package and of the emulator share: options, and an environment without surprises."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["rehearsal"]  # the emulator's fixtures

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


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
