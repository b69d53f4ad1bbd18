"""Libraries for a cluster: built from wheels for its platform, reused, and imported by executors."""

from __future__ import annotations

import os
import platform
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.errors import InvalidValue, PackagingError
from emr_pipelines.job import wheels as dependencies
from emr_pipelines.job.requirements import normalized
from emr_pipelines.job.wheels import Dependencies, build, key, pip_settings, uv_settings
from emr_pipelines.runners.java import java_environment
from tests.account import Ledger
from tests.patience import HUNG_SECONDS

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
THIS_ARCHITECTURE = platform.machine()


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which neither pip nor uv is configured."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name in {"SSL_CERT_FILE", "ALL_PROXY"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))


@pytest.fixture
def wheels(no_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A folder of wheels as pip's only source."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "plain", {"plain/__init__.py": "", "plain/__init__.pyi": "", "plain/tests/__init__.py": ""})
    make_wheel(
        folder,
        "tool",
        {
            "tool/__init__.py": "",
            "tool/run": "#!/bin/sh\n",
            "tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool = tool:main\n",
            "tool-1.0.data/scripts/tool-native": "\x7fELF and the rest of a program",
        },
        requires=["plain", "pyspark>=3"],
    )
    make_wheel(folder, "elsewhere", {"elsewhere.py": ""}, tag="cp311-cp311-win_amd64")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary folders."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def folder(s3: Any, tmp_path: Path) -> str:
    bucket = f"dependencies-{abs(hash(tmp_path))}"
    s3.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/emr"


@pytest.fixture(scope="module")
def numpy_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of NumPy for this Python."""
    return build(["numpy"], tmp_path_factory.mktemp("numpy"), THIS_ARCHITECTURE, THIS_PYTHON)


def make_wheel(
    folder: Path, name: str, files: dict[str, str], requires: list[str] | None = None, tag: str = "py3-none-any"
) -> None:
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires or [])
    files = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(path)
            executable = text.startswith(("#!", "\x7f"))
            entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            wheel.writestr(entry, text)


def test_a_key_is_one_of_what_is_built() -> None:
    one = key(["NumPy >= 2, <3", "a_b[Y,x]==1"])
    assert one == key(["a-b[x,Y]==1", "numpy<3,>=2", "numpy<3,>=2", "pyspark"])
    assert len(one) == 64
    others = [
        key(["numpy>=2"]),
        key(["numpy>=2"], "3.12"),
        key(["numpy>=2"], "3.11", "arm64"),
        key(["numpy>=2.0"]),
        key([]),
    ]
    assert len({one, *others}) == 6
    assert key(["numpy"], "3.11", "aarch64") == key(["numpy"], "3.11", "arm64")


@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        ("./wheels/x.whl", r"A requirement is '\./wheels/x\.whl'; allowed: a name with versions"),
        ("-r requirements.txt", "A requirement is '-r requirements.txt'; allowed"),
        ("numpy==1 --hash=sha256:00", "A requirement is 'numpy==1 --hash"),
        ("", "A requirement is ''; allowed"),
        ("x @ file:///x.whl", "A requirement is 'x @ file:///x.whl'; allowed: a package of an index or of the web"),
    ],
)
def test_what_is_no_requirement_is_refused(requirement: str, sentence: str) -> None:
    with pytest.raises(InvalidValue, match=sentence):
        normalized(["numpy", requirement])


def test_what_no_cluster_has_is_refused() -> None:
    with pytest.raises(InvalidValue, match="The architecture is 'sparc'; allowed: aarch64 or arm64 or x86_64"):
        key(["numpy"], architecture="sparc")
    with pytest.raises(InvalidValue, match=r"The cluster's Python version is '3'; allowed: a version such as 3\.11"):
        key(["numpy"], "3")


def test_what_is_in_an_archive(wheels: Path, tmp_path: Path) -> None:  # noqa: ARG001 (where uv looks)
    (tmp_path / "one").mkdir()
    archive = build(["tool", "pyspark"], tmp_path / "one")
    with zipfile.ZipFile(archive) as opened:
        modes = {entry.filename: stat.S_IMODE(entry.external_attr >> 16) for entry in opened.infolist()}
        record = opened.read("tool-1.0.dist-info/RECORD").decode()
    packaged = {name: mode for name, mode in modes.items() if "dist-info" not in name}
    assert packaged == {
        "bin/tool-native": 0o755,
        "plain/__init__.py": 0o644,
        "plain/__init__.pyi": 0o644,
        "plain/tests/__init__.py": 0o644,
        "tool/__init__.py": 0o644,
        "tool/run": 0o755,
    }
    assert "bin/tool-native," in record
    assert "bin/tool," not in record
    assert not [name for name in modes if name.endswith(("uv_cache.json", ".lock"))]
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"deps.zip", "requirements.txt", "overrides.txt"}


def test_the_same_wheels_are_the_same_archive(wheels: Path, tmp_path: Path) -> None:  # noqa: ARG001
    built = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        built.append(build(["tool"], tmp_path / name).read_bytes())
    assert built[0] == built[1]


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("elsewhere", "has no wheels with a matching"),
        ("nowhere", "nowhere was not found"),
        ("plain==2", "there is no version of plain==2"),
    ],
)
@pytest.mark.usefixtures("wheels")
def test_what_has_no_wheel_is_refused_and_leaves_nothing(
    requirement: str, reason: str, scratch: Path, folder: str
) -> None:
    said: list[str] = []
    objects = Objects(Aws())
    with pytest.raises(PackagingError) as refused:
        Dependencies(objects, folder).archive([requirement, "tool"], log=said.append)
    sentence = str(refused.value)
    assert requirement in sentence
    assert "tool are not available as wheels for Python 3.11 on x86_64: No solution found" in sentence
    assert reason in sentence
    assert "\n" not in sentence
    assert list(scratch.iterdir()) == []
    assert list(objects.entries(folder)) == []
    assert len(said) == 1


@pytest.mark.usefixtures("no_settings")
def test_passwords_of_an_index_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with pytest.raises(PackagingError, match="Connection refused") as refused:
        build(["plain"], tmp_path / "one")
    assert "secret" not in str(refused.value)
    with pytest.raises(
        PackagingError, match=r"requirements x @ http://\*\*\*@127\.0\.0\.1:1/x-1-py3-none-any\.whl could"
    ) as refused:
        build(["x @ http://me:secret@127.0.0.1:1/x-1-py3-none-any.whl"], tmp_path / "other")
    assert "secret" not in str(refused.value)


def test_an_interrupt_leaves_nothing(scratch: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def interrupt(*_arguments: Any, **_options: Any) -> None:
        seen.extend(scratch.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Dependencies(Objects(Aws()), folder).archive(["plain"])
    assert len(seen) == 1
    assert list(scratch.iterdir()) == []


def test_uv_is_looked_at_while_it_works_and_does_not_outlive_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "LOOK_SECONDS", 0.01)
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        if len(looks) == 3:
            raise KeyboardInterrupt

    started: list[subprocess.Popen[str]] = []

    class Remembered(subprocess.Popen[str]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    with pytest.raises(KeyboardInterrupt):
        dependencies._run(["sleep", "600"], dict(os.environ), look)
    assert started[0].returncode == -signal.SIGKILL
    assert dependencies._run(["sh", "-c", "echo no >&2; exit 3"], dict(os.environ), lambda: None) == (3, "no\n")


@pytest.mark.usefixtures("wheels")
def test_what_is_there_is_not_built_again(scratch: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    objects = Objects(Aws())
    shelf = Dependencies(objects, folder)
    ledger = Ledger()
    uri = shelf.archive(["tool"], "arm64", log=said.append, report=ledger)
    assert uri == f"{folder}/deps/{key(['tool'], '3.11', 'arm64')}.zip"
    assert (objects.read(uri) or b"")[:2] == b"PK"
    assert list(scratch.iterdir()) == []
    assert said[0] == f"Building an archive of tool for Python 3.11 on arm64; later runs will find it at {uri}."
    assert said[1].startswith("Built 0.0 MB in ")
    assert list(ledger.works) == [
        "Fetching tool and what that requires",
        "Packing the packages",
        "Sending the packages",
    ]
    packing, sending = list(ledger.done().values())[1:]
    assert 0 < packing[0] <= packing[1]  # files of this machine are left out
    assert sending == (len(objects.read(uri) or b""),) * 2
    assert len(said) == 2

    monkeypatch.setattr(dependencies, "build", None)
    for later in (shelf, Dependencies(objects, folder)):
        assert later.archive(["Tool"], "aarch64", log=said.append) == uri
    assert len(said) == 2
    assert shelf.archive(()) is None
    assert shelf.archive(["pyspark==3.5.1"]) is None


def test_two_that_build_the_same_do_no_harm(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)

    def build_together(_lines: list[str], scratch: Path, *_for: object) -> Path:
        together.wait(HUNG_SECONDS)
        (scratch / "deps.zip").write_bytes(b"zip")
        return scratch / "deps.zip"

    monkeypatch.setattr(dependencies, "build", build_together)
    objects = Objects(Aws())
    uris: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: uris.append(Dependencies(objects, folder).archive(["plain"]))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG_SECONDS)
    assert len(uris) == 2
    assert len(set(uris)) == 1
    assert [entry.uri for entry in objects.entries(folder)] == uris[:1]


@pytest.mark.usefixtures("no_settings")
def test_uv_looks_where_pip_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pip_settings().keys() == {"config-file"}
    (tmp_path / "pip.conf").write_text(
        "[install]\nindex-url = https://install.example/simple\n"
        "[global]\nindex_url = https://global.example/simple\ncert = /etc/corporate.pem\nproxy = http://proxy:3128\n"
        "extra-index-url =\n    https://one.example/simple\n    https://two.example/simple\n"
        "find-links = /opt/one /opt/two\ntrusted-host = a b\n[list]\nformat = columns\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "99")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "c")
    monkeypatch.setenv("PIP_PROXY", "")
    environment, options = uv_settings()
    assert {name: environment[name] for name in environment if name not in os.environ} == {
        "UV_DEFAULT_INDEX": "https://install.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_FIND_LINKS": "/opt/one,/opt/two",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "c",
        "UV_HTTP_TIMEOUT": "99",
        "SSL_CERT_FILE": "/etc/corporate.pem",
        "ALL_PROXY": "http://proxy:3128",
    }
    assert options == []

    monkeypatch.setenv("PIP_NO_INDEX", "true")
    assert uv_settings()[1] == ["--no-index"]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    assert uv_settings() == (dict(os.environ), [])


@pytest.mark.usefixtures("no_settings")
def test_pip_settings_that_nobody_can_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text("index-url = x\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(InvalidValue, match=r"pip's configuration is '.*pip\.conf'; allowed: a file that pip can read"):
        pip_settings()


def test_wheels_are_those_of_the_cluster(tmp_path: Path) -> None:
    with zipfile.ZipFile(build(["markupsafe"], tmp_path, "arm64", "3.11")) as opened:
        compiled = [name for name in opened.namelist() if name.endswith(".so")]
    assert compiled == ["markupsafe/_speedups.cpython-311-aarch64-linux-gnu.so"]


@pytest.mark.extended
def test_an_archive_on_the_path_is_what_python_imports(numpy_archive: Path, tmp_path: Path) -> None:
    _unpack(numpy_archive, tmp_path)
    code = "import numpy; print(numpy.__file__, numpy.linalg.det(numpy.eye(3)))"
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == [f"{tmp_path}/numpy/__init__.py", "1.0"], ended.stderr


PROGRAM = """
from pyspark.sql import SparkSession

def look(_):
    import numpy, sys
    yield numpy.__file__, sys.executable, int(numpy.arange(10).sum())

spark = SparkSession.builder.getOrCreate()
for found in sorted(set(spark.sparkContext.parallelize(range(4), 4).mapPartitions(look).collect())):
    print("FOUND", *found)
spark.stop()
"""


@pytest.mark.extended
def test_executors_import_from_an_archive(numpy_archive: Path, tmp_path: Path) -> None:
    """A Python without NumPy, in executors that are separate processes."""
    import pyspark

    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    home = tmp_path / "spark"  # executors work below it
    home.mkdir()
    for part in ("bin", "jars", "python"):
        (home / part).symlink_to(Path(pyspark.__file__).parent / part)
    settings = {
        "spark.executorEnv.PYTHONPATH": "deps",
        "spark.pyspark.python": str(bare / "bin" / "python"),
        "spark.pyspark.driver.python": sys.executable,
        "spark.executor.memory": "512m",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(tmp_path / "local"),
    }
    command = [str(home / "bin" / "spark-submit"), "--master", "local-cluster[1,2,1024]"]
    command += [option for name, value in settings.items() for option in ("--conf", f"{name}={value}")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PY")}
    environment |= {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", **java_environment(print)}
    ended = subprocess.run(
        [*command, "--archives", f"{numpy_archive}#deps", str(program)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=HUNG_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = [line.split()[1:] for line in ended.stdout.splitlines() if line.startswith("FOUND")]
    assert found, ended.stdout
    for path, python, total in found:
        assert path.endswith("/deps/numpy/__init__.py")
        assert (python, total) == (str(bare / "bin" / "python"), "45")


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
