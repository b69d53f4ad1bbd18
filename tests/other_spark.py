"""A Spark of the line that is not installed, for tests of both in one emulator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emr_pipelines.spark_lines import LINES, installed_spark, line_of

HERE = line_of(installed_spark())
OTHER = LINES[0] if HERE is LINES[-1] else LINES[-1]


@pytest.fixture(scope="session")
def other_spark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pyspark of the other line, which pip gets from the package index; this Python runs it."""
    folder = tmp_path_factory.mktemp("other-spark")
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*uv, OTHER.pyspark], check=True)
    return folder / "pyspark"
