"""Every command in the manual runs, or at least parses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_dg_cli.cli import create_dg_cli
from dagster_webserver.cli import dagster_webserver

from docs.generate import pages
from emr_emulator import Emulator
from emr_pipelines.cli import main
from tests.docs.blocks import ROOT, blocks, commands, file_blocks, page
from tests.patience import HUNG_SECONDS

PROGRAMS: dict[str, click.Command] = {
    "emr-pipelines": main,
    "dagster": create_dagster_cli(),  # type: ignore[no-untyped-call]
    "dg": create_dg_cli(),  # type: ignore[no-untyped-call]
    "dagster-daemon": create_dagster_daemon_cli(),
    "dagster-webserver": dagster_webserver,
}
# not ours, and nothing to check: the shell's words, the system's, and the AWS CLI's, whose lines are all run
OTHERS = {
    "aws", "cat", "cd", "curl", "export", "mkdir", "pip", "pytest", "python", "python3", "source", "sudo",
    "touch", "zcat",
}  # fmt: skip


def parsed(command: click.Command, words: list[str], parent: click.Context | None = None) -> click.Context:
    """Parse a command; return the last subcommand's context. Raises click's UsageError for invalid ones."""
    context = command.make_context(words[0], words[1:], parent=parent)
    if not isinstance(command, click.Group):
        return context
    rest = [*context._protected_args, *context.args]
    name, inner, more = command.resolve_command(context, rest)
    assert inner is not None
    return parsed(inner, [str(name), *more], context)


def known(words: list[str]) -> bool:
    """Tell whether a command's program and options exist."""
    program = Path(words[0]).name
    if program in PROGRAMS:
        parsed(PROGRAMS[program], words)
        return True
    if (
        program.startswith("python")
        and words[1:2] == ["-m"]
        and words[2].startswith(("benchmarks.", "docs.", "tests."))
    ):
        module = ROOT / f"{words[2].replace('.', '/')}.py"
        offered = module.read_text() + (ROOT / "benchmarks" / "harness.py").read_text()
        return all(f'"{word}"' in offered for word in words[3:] if word.startswith("--"))
    if program.startswith("python") and words[1:3] == ["-m", "pytest"]:
        return all(word == "--all" or (ROOT / word).exists() for word in words[3:])
    return program in OTHERS


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_commands_are_ones_that_their_programs_take(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace.production.yaml").write_text("")
    assert [words for words in commands(path.read_text()) if not known(words)] == []


def test_what_no_program_takes_is_noticed() -> None:
    with pytest.raises(click.UsageError, match="--al"):
        known(["emr-pipelines", "clusters", "list", "--al"])
    with pytest.raises(click.UsageError, match="No such command"):
        known([".venv/bin/dagster", "job", "exceute"])
    assert not known(["python", "-m", "benchmarks.pi", "--round", "3"])
    assert not known(["rm", "-r", "data"])
    assert not known(["python", "-m", "tests.reliability.kills", "--kill", "3"])
    assert not known(["python", "-m", "pytest", "--all", "tests/reliabilty"])
    assert not known(["python", "-m", "pytest", "--al", "tests/reliability"])


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Runs a block in the project's folder, with the emulator as AWS."""
    for name in ("docs", "README.md", "pyproject.toml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    for name in ("emr_pipelines", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "data" / "word_counts").mkdir(parents=True)
    (tmp_path / "data" / "word_counts" / "latest.json").write_text('{"version": "of this test"}')
    with Emulator() as emulator:
        emulator.create_bucket("my-bucket")
        environment = {
            **os.environ,
            **emulator.environment,
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(tmp_path),
        }

        def run(block: str) -> str:
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=HUNG_SECONDS,
            )  # fmt: skip
            assert ran.returncode == 0, f"{block}\n{ran.stdout}{ran.stderr}"
            return ran.stdout

        run.environment = environment  # type: ignore[attr-defined]
        yield run


@pytest.mark.extended
def test_the_settings_page_can_be_written_again(shell: Any) -> None:
    (block,) = blocks(page("configuration"), "sh")
    assert shell(block) == ""  # nothing was new


def test_the_published_version(shell: Any) -> None:
    (block,) = blocks(page("word_count"), "sh")
    assert "of this test" in shell(block)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_faults_by_http(shell: Any) -> None:
    (block,) = blocks(page("emulator"), "sh")
    assert re.findall(r'"fault": "(\w+)"', shell(block)) == ["throttle", "throttle"]  # posted, seen, and gone
    assert shell(block.splitlines()[1]).strip() == "[]"


def test_the_lifecycle_rule(shell: Any) -> None:
    (block,) = blocks(page("security"), "sh")
    shell(block)
    environment = shell.environment
    session = boto3.session.Session("any", "any", region_name="us-east-1")
    s3 = session.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"])
    rules = s3.get_bucket_lifecycle_configuration(Bucket="my-bucket")["Rules"]
    assert [rule["Filter"]["Prefix"] for rule in rules] == ["default/steps/", "default/logs/", "default/inputs/"]


@pytest.mark.parametrize("name", ["deployment", pytest.param("troubleshooting", marks=pytest.mark.extended)])
def test_forgotten_clusters_are_found_and_ended(shell: Any, name: str) -> None:
    block = next(block for block in blocks(page(name), "sh") if "clusters" in block)
    said = shell(block)
    assert "No cluster of any deployment is active." in said
    assert "There is no cluster to end." in said


@pytest.mark.extended
def test_the_code_location_loads(shell: Any) -> None:
    block = next(block for block in blocks(page("troubleshooting"), "sh") if "validate" in block)
    shell(block)


def test_the_blocks_that_are_run_are_all_that_there_are() -> None:
    count = {path.stem: len(blocks(path.read_text(), "sh")) for path in pages()}
    run_here = {
        "configuration": 1,
        "word_count": 1,
        "emulator": 1,
        "security": 1,
        "deployment": 1,
        "troubleshooting": 2,
    }
    elsewhere = {"README": 3, "reliability": 9}  # .ci/run runs the former; for the latter see below
    assert {name: found for name, found in count.items() if found} == {**run_here, **elsewhere}


def test_the_commands_on_reliability_are_tests_or_are_run_by_one() -> None:
    """By test_kills.py and test_load.py."""
    run = {"pytest", "tests.reliability.kills", "tests.reliability.load"}
    assert {tuple(words[:3]) for words in commands(page("reliability"))} == {("python", "-m", name) for name in run}


def test_python_of_the_pages() -> None:
    examples = [
        (path, block)
        for path in pages()
        if path.stem not in ("README", "programs", "reading")  # for the latter see test_reading.py
        for block in blocks(path.read_text(), "python")
    ]
    assert len(examples) == 3
    for path, example in examples:
        exec(compile(example, path.name, "exec"), {})  # noqa: S102 (they assert)


def test_units_start_what_there_is(tmp_path: Path) -> None:
    units = {name: text for name, text in file_blocks(page("deployment"), "ini").items() if name.endswith(".service")}
    assert len(units) == 3
    for name, text in units.items():
        (line,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
        words = line.replace("workspace.production.yaml", "").replace("-w ", "").split()
        assert words[0].startswith("/srv/emr_pipelines/.venv/bin/")
        assert known(words)
        here = text.replace("/srv/emr_pipelines/.venv/bin", f"{sys.prefix}/bin")
        (tmp_path / Path(name).name).write_text(here)
    if shutil.which("systemd-analyze"):
        verified = subprocess.run(
            ["systemd-analyze", "verify", *map(str, tmp_path.glob("*.service"))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert verified.returncode == 0, verified.stderr
