"""Which Sparks run steps, and on which Java."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from emr_emulator import SparkUnusable, find_spark, find_sparks
from emr_emulator.cli import main
from emr_emulator.java_homes import has_vector_module, make_java_home
from emr_emulator.sparks import choose

INSTALLED = find_spark("local[1]")
OTHER = "3.5" if INSTALLED.line == "4.1" else "4.1"


def distribution(folder: Path, version: str) -> Path:
    """A folder like that of a downloaded Spark."""
    for name in ("bin/spark-submit", f"jars/spark-core_2.13-{version}.jar"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def environment(folder: Path, version: str) -> Path:
    """A folder like that of a virtual environment with pyspark."""
    pyspark = folder / "lib" / "python3.12" / "site-packages" / "pyspark"
    pyspark.mkdir(parents=True)
    (pyspark / "version.py").write_text(f'__version__: str = "{version}"\n')
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    return folder


def test_the_installed_one_alone() -> None:
    assert find_sparks("local[1]") == (INSTALLED,)


def test_another_in_a_folder_or_in_a_virtual_environment(tmp_path: Path) -> None:
    spark = distribution(tmp_path / "spark", f"{OTHER}.7")
    installed, found = find_sparks("local[1]", {OTHER: spark})
    assert installed == INSTALLED
    assert (found.home, found.version, found.python) == (spark, f"{OTHER}.7", INSTALLED.python)
    venv = environment(tmp_path / "venv", f"{OTHER}.8")
    _, found = find_sparks("local[1]", {OTHER: venv})
    assert found.home == venv / "lib" / "python3.12" / "site-packages" / "pyspark"
    assert (found.version, found.python) == (f"{OTHER}.8", str(venv / "bin" / "python"))


def test_one_of_the_installed_line_replaces_the_installed_one(tmp_path: Path) -> None:
    spark = distribution(tmp_path / "spark", f"{INSTALLED.line}.0")
    (found,) = find_sparks("local[1]", {INSTALLED.line: spark})
    assert choose([found], "emr-5.36.0") is found
    assert found.home == spark


def test_a_python_that_is_told_runs_all(tmp_path: Path) -> None:
    venv = environment(tmp_path / "venv", f"{OTHER}.8")
    assert {spark.python for spark in find_sparks("local[1]", {OTHER: venv}, sys.executable)} == {sys.executable}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("3.5", "--spark is '3.5'; allowed is LINE=PATH, such as 3.5=/opt/venv."),
        ("3=/x", "The line of Spark is '3'; allowed is a minor line such as 3.5 or 4.1."),
        ("3.5=/nowhere", "The path of Spark 3.5 is '/nowhere'; allowed is a virtual environment with pyspark, or a"),
        ("3.4={0}", "is Spark 3.5.7, not 3.4."),
    ],
)
def test_what_is_wrong_is_a_sentence(tmp_path: Path, told: str, says: str) -> None:
    spark = distribution(tmp_path / "spark", "3.5.7")
    answer = CliRunner().invoke(main, ["--port", "0", "--spark", told.format(spark)])
    assert answer.exit_code == 1
    assert answer.output.startswith("Error: ")
    assert says in answer.output


def test_without_any_pyspark_the_told_one_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SparkUnusable, match="no pyspark"):
        find_sparks("local[1]")
    (found,) = find_sparks("local[1]", {"3.5": distribution(tmp_path / "spark", "3.5.7")})
    assert found.version == "3.5.7"


@pytest.fixture
def java_home(tmp_path: Path) -> Path:
    """A JAVA_HOME whose java prints its arguments, and has other files too."""
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text('#!/bin/sh\ncase $1 in --list-modules) echo java.base@17 ;; *) printf "<%s>" "$@" ;; esac\n')
    java.chmod(0o755)
    (java.parent / "jcmd").touch()
    (tmp_path / "java" / "lib").mkdir()
    return tmp_path / "java"


def test_a_java_without_the_module_is_not_asked_for_it(tmp_path: Path, java_home: Path) -> None:
    assert not has_vector_module(str(java_home))
    made = make_java_home(tmp_path / "made", str(java_home), None, drop_vector_module=True)
    assert {path.name for path in made.rglob("*")} == {"bin", "java", "jcmd", "lib"}
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "--add-modules=java.sql", "Main", ""]
    answer = subprocess.run([made / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    assert answer.stdout == "<-cp><a b><--add-modules=java.sql><Main><>"


def test_executors_find_what_was_placed(tmp_path: Path, java_home: Path) -> None:
    (tmp_path / "placed").mkdir()
    (tmp_path / "placed" / "rules.txt").write_text("rules")
    made = make_java_home(tmp_path / "made", str(java_home), tmp_path / "placed", drop_vector_module=False)
    for name, there in (("Driver", False), ("org.apache.spark.executor.CoarseGrainedExecutorBackend", True)):
        folder = tmp_path / name
        folder.mkdir()
        answer = subprocess.run(
            [made / "bin" / "java", "--add-modules=jdk.incubator.vector", name],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert answer.stdout == f"<--add-modules=jdk.incubator.vector><{name}>"
        assert (folder / "rules.txt").exists() == there
