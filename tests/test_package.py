"""What can be imported from the package itself, and what an import loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import emr_pipelines

# a Python without Dagster, like a cluster's
NO_DAGSTER = "import sys; sys.modules['dagster'] = None; "


def answer_of(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_package_itself_imports_nothing() -> None:
    answer = answer_of(
        "import sys; before = set(sys.modules); import emr_pipelines, emr_pipelines.remote.codec; "
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    assert answer.stdout.strip() == "{'emr_pipelines'}", answer.stderr


def test_all_that_it_offers_is_there() -> None:
    for name in emr_pipelines.__all__:
        assert getattr(emr_pipelines, name).__name__ == name if name[0].isupper() else getattr(emr_pipelines, name)
    assert set(emr_pipelines.__all__) == set(emr_pipelines._HOMES)
    assert set(emr_pipelines.__all__) <= set(dir(emr_pipelines))
    with pytest.raises(
        AttributeError, match=r"has no attribute 'program_aset'; it has ApplicationSpec, .*program_asset"
    ):
        _ = emr_pipelines.program_aset  # type: ignore[attr-defined]


def test_what_it_offers_is_looked_up_without_what_it_does_not_need() -> None:
    answer = answer_of(
        "import sys; from emr_pipelines import program_asset, configured_runner, EmrSparkRunner, Storage; "
        "print([name for name in ('pyspark', 'pyarrow', 'numpy', 'boto3', 'matplotlib') if name in sys.modules])"
    )
    assert answer.stdout.strip() == "[]", answer.stderr


def test_a_program_that_imports_its_definitions_says_so_where_there_is_no_dagster() -> None:
    answer = answer_of(f"{NO_DAGSTER}import emr_pipelines.remote.codec; from emr_pipelines import program_asset")
    assert answer.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: emr_pipelines.program_asset needs Dagster, which no cluster has; a program stands in a "
        "module that does not import what its definitions need."
    )
