"""Artifacts: equal sources give equal archives, a cluster's Python can import them, and nothing is sent twice.

test_imports.py tests which modules a program reaches."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.errors import InvalidValue, PackagingError
from emr_pipelines.job import artifacts
from emr_pipelines.job.artifacts import Archive, Artifacts, code_archive
from emr_pipelines.pipelines.pi.estimate import estimate_pi
from emr_pipelines.pipelines.word_count.count import count_words
from emr_pipelines.runners.java import find_java
from tests.account import Ledger
from tests.patience import HUNG_SECONDS

PROGRAM = "def run(spark, params):\n    return params\n"


class CountingObjects(Objects):
    """Objects that record the calls."""

    def __init__(self) -> None:
        super().__init__(Aws())
        self.asked: list[str] = []
        self.before_upload: Callable[[], None] = lambda: None

    def exists(self, uri: str) -> bool:
        self.asked.append("exists")
        return super().exists(uri)

    def upload(self, uri: str, path: Path, advance: Callable[[int], None] | None = None) -> None:
        self.asked.append("upload")
        self.before_upload()
        super().upload(uri, path, advance)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write modules into a folder on sys.path; unload them afterwards."""
    before = set(sys.modules)

    def write(files: dict[str, str], root: str = "src") -> Path:
        for name, text in files.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path / root))
        invalidate_caches()
        return tmp_path / root

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__path__", getattr(sys.modules[name], "__file__", ""))):
            del sys.modules[name]


@pytest.fixture
def folder(s3: Any, request: pytest.FixtureRequest) -> str:
    bucket = f"artifacts-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    s3.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/emr"


def names_in(archive: Archive) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(archive.data)) as opened:
        return [name for name in opened.namelist() if not name.endswith("/")]


def own_names_in(archive: Archive) -> list[str]:
    return [name for name in names_in(archive) if not name.startswith(("emr_pipelines/", "dagster_pipes/"))]


def loaded_from(archive: Archive, program: str, tmp_path: Path) -> str:
    """Return where a Python with only the archive finds the program."""
    path = tmp_path / "unpacked"
    with zipfile.ZipFile(io.BytesIO(archive.data)) as packed:
        packed.extractall(path)
    code = (
        "import dagster_pipes; from emr_pipelines.remote.codec import load; "
        f"print(load({program!r}).__code__.co_filename)"
    )
    environment = {**os.environ, "PYTHONPATH": str(path)}
    bare = [sys.executable, "-S", "-c", code]
    ended = subprocess.run(
        bare, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=HUNG_SECONDS
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip().removeprefix(f"{path}/")


def test_programs_of_this_package_take_only_what_runs_on_a_cluster(tmp_path: Path) -> None:
    archive = code_archive(count_words)
    assert archive.sha256 == hashlib.sha256(archive.data).hexdigest()
    assert archive.name == f"{archive.sha256}.zip"
    every = {"emr_pipelines/__init__.py", "emr_pipelines/errors.py", "emr_pipelines/pipelines/__init__.py"}
    ours = {name for name in names_in(archive) if name.startswith("emr_pipelines/")}
    assert every <= ours
    assert {name.rpartition("/")[0] for name in ours - every} == {
        "emr_pipelines/remote",
        "emr_pipelines/pipelines/word_count",
    }
    assert "emr_pipelines/pipelines/word_count/assets.py" not in ours
    assert not [name for name in names_in(code_archive(estimate_pi)) if "word_count" in name]
    found = loaded_from(archive, "emr_pipelines.pipelines.word_count.count:count_words", tmp_path)
    assert found == "emr_pipelines/pipelines/word_count/count.py"


def test_the_same_source_is_the_same_archive(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"shop/__init__.py": "", "shop/jobs.py": PROGRAM, "shop/queries/top.sql": "select 1\n"}
    first = write(source, "one")
    archive = code_archive(import_module("shop.jobs").run)
    assert own_names_in(archive) == ["shop/__init__.py", "shop/jobs.py", "shop/queries/top.sql"]

    monkeypatch.undo()
    for name in ("shop", "shop.jobs"):
        del sys.modules[name]
    second = write({**source, "shop/.env": "secret", "shop/.git/config": "x", "shop/__pycache__/a.py": "x"}, "two")
    (second / "shop" / "old.pyc").write_bytes(b"x")
    os.utime(second / "shop" / "jobs.py", (1_000_000_000, 1_000_000_000))
    (second / "shop" / "jobs.py").chmod(0o755)
    program = import_module("shop.jobs").run
    assert program.__code__.co_filename == str(second / "shop" / "jobs.py") != str(first / "shop" / "jobs.py")
    assert code_archive(program) == archive

    (second / "shop" / "queries" / "top.sql").write_text("select 2\n")
    assert code_archive(program).sha256 != archive.sha256


def test_the_same_source_is_the_same_archive_for_another_python() -> None:
    """Modes, times, system and order of entries do not depend on this Python's defaults."""
    with zipfile.ZipFile(io.BytesIO(code_archive(count_words).data)) as opened:
        entries = opened.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert {(entry.create_system, entry.compress_type, entry.flag_bits) for entry in entries} == {(3, 0, 0)}


def test_a_module_of_one_file(write: Any, tmp_path: Path) -> None:
    write({"night_job.py": PROGRAM, "unrelated.py": ""})
    archive = code_archive(import_module("night_job").run)
    assert own_names_in(archive) == ["night_job.py"]
    assert loaded_from(archive, "night_job:run", tmp_path) == "night_job.py"


def test_of_a_namespace_package_what_is_imported_travels(write: Any, tmp_path: Path) -> None:
    site = write({"acme/ml/__init__.py": "", "acme/installed.py": ""}, "lib/python3.11/site-packages")
    (site / "acme" / "ml" / "_fast.so").write_bytes(b"")
    jobs = f"import acme.same\nfrom acme.common import names\ndef f():\n    import acme.ml\n{PROGRAM}"
    write(
        {"acme/etl/jobs.py": jobs, "acme/etl/notes.txt": "", "acme/same.py": "here = 2\n", "acme/other.py": ""}, "two"
    )
    write({"acme/common/__init__.py": "", "acme/common/names.py": "", "acme/common/names.txt": ""}, "one")
    (tmp_path / "one" / "acme" / "_fast.so").write_bytes(b"")
    (tmp_path / "one" / "acme" / "same.py").write_text("here = 1\n")
    invalidate_caches()
    archive = code_archive(import_module("acme.etl.jobs").run)
    assert own_names_in(archive) == [
        "acme/common/__init__.py",
        "acme/common/names.py",
        "acme/common/names.txt",
        "acme/etl/jobs.py",
        "acme/same.py",
    ]
    with zipfile.ZipFile(io.BytesIO(archive.data)) as opened:
        assert opened.read("acme/same.py") == b"here = 1\n"
    assert loaded_from(archive, "acme.etl.jobs:run", tmp_path) == "acme/etl/jobs.py"


def test_a_namespace_package_that_packages_names_travels_with_all_its_modules(write: Any) -> None:
    write({"acme3/job.py": f"PACKAGES = ('acme3',)\n{PROGRAM}", "acme3/deep/part.py": "", "acme3/data.txt": ""})
    archive = code_archive(import_module("acme3.job").run)
    assert own_names_in(archive) == ["acme3/deep/part.py", "acme3/job.py"]


def test_a_part_that_an_editable_install_maps_elsewhere(write: Any, tmp_path: Path) -> None:
    write({"acme2/common.py": ""})
    elsewhere = tmp_path / "checkout" / "etl_source"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").write_text("")
    (elsewhere / "jobs.py").write_text(PROGRAM)
    namespace = import_module("acme2")
    namespace.__path__ = [*namespace.__path__, "__editable__.acme2.finder.__path_hook__"]
    spec = import_module("importlib.util").spec_from_file_location(
        "acme2.etl", elsewhere / "__init__.py", submodule_search_locations=[str(elsewhere)]
    )
    sys.modules["acme2.etl"] = import_module("importlib.util").module_from_spec(spec)
    spec.loader.exec_module(sys.modules["acme2.etl"])
    archive = code_archive(import_module("acme2.etl.jobs").run)
    assert own_names_in(archive) == ["acme2/etl/__init__.py", "acme2/etl/jobs.py"]


def test_links_are_followed_but_not_in_circles(write: Any) -> None:
    root = write({"linked/__init__.py": "", "linked/jobs.py": PROGRAM, "shared/text.sql": "select 1"})
    (root / "linked" / "one").symlink_to(root / "shared")
    (root / "linked" / "other").symlink_to(root / "shared")
    (root / "linked" / "circle").symlink_to(root / "linked")
    (root / "linked" / "gone.py").symlink_to(root / "nowhere.py")
    archive = code_archive(import_module("linked.jobs").run)
    assert own_names_in(archive) == [
        "linked/__init__.py",
        "linked/jobs.py",
        "linked/one/text.sql",
        "linked/other/text.sql",
    ]


def test_a_script_that_was_started_as_such(tmp_path: Path) -> None:
    script = tmp_path / "script_job.py"
    script.write_text(
        "from emr_pipelines.job.artifacts import code_archive\n"
        f"{PROGRAM}\n"
        "import io, zipfile\n"
        "print(*zipfile.ZipFile(io.BytesIO(code_archive(run).data)).namelist())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(artifacts.__file__).parents[2])}
    command = [sys.executable, str(script)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=HUNG_SECONDS)
    assert "script_job.py" in ended.stdout.split()


def test_compiled_parts_are_refused(write: Any) -> None:
    root = write({"fast/__init__.py": "", "fast/jobs.py": PROGRAM})
    (root / "fast" / "_speedups.cpython-311-darwin.so").write_bytes(b"")
    with pytest.raises(PackagingError, match=r"fast has a compiled part, .*_speedups.*\.so, .* REQUIREMENTS"):
        code_archive(import_module("fast.jobs").run)


def test_a_package_full_of_data_is_refused(write: Any) -> None:
    root = write({"heavy/__init__.py": "", "heavy/jobs.py": PROGRAM})
    with (root / "heavy" / "model.bin").open("wb") as stream:
        stream.truncate(artifacts.MAX_BYTES + 50_000_000)  # a sparse file, which takes no space
    program = import_module("heavy.jobs").run
    with pytest.raises(PackagingError, match=r"heavy has 150 MB of files, the largest .*model\.bin; allowed: 100 MB"):
        code_archive(program)


def test_what_is_no_source_file_of_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as packed:
        packed.writestr("zipped_job.py", PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path / "zipped.zip"))
    with pytest.raises(
        PackagingError, match=r"module zipped_job comes from .*zipped\.zip.*; allowed: a source file in a folder"
    ):
        code_archive(import_module("zipped_job").run)
    with pytest.raises(
        PackagingError, match=r"find_java is in a part .*; allowed: emr_pipelines\.pipelines, or a package"
    ):
        code_archive(find_java)
    with pytest.raises(PackagingError, match="is a lambda"):
        code_archive(lambda _spark, _params: None)


def test_own_modules_that_a_program_imports_travel_too(write: Any, tmp_path: Path) -> None:
    """Whole packages, with files beside the code, and with the modules that they import."""
    write({"sibling_helper.py": "import shared_by_jobs.io\n", "unrelated_helper.py": ""}, "one")
    write({"shared_by_jobs/__init__.py": "", "shared_by_jobs/io.py": "", "shared_by_jobs/conf.json": "{}"}, "two")
    write({"sibling_job.py": f"import sibling_helper\ndef f():\n    import numpy\n{PROGRAM}"}, "three")
    archive = code_archive(import_module("sibling_job").run)
    assert own_names_in(archive) == [
        "shared_by_jobs/__init__.py",
        "shared_by_jobs/conf.json",
        "shared_by_jobs/io.py",
        "sibling_helper.py",
        "sibling_job.py",
    ]
    assert loaded_from(archive, "sibling_job:run", tmp_path) == "sibling_job.py"


def test_packages_name_what_no_import_statement_does(write: Any) -> None:
    write({
        "dynamic_job.py": f"PACKAGES = ('dynamic_plugins',)\n{PROGRAM}",
        "dynamic_plugins/__init__.py": "",
        "dynamic_plugins/csv.py": "",
    })  # fmt: skip
    archive = code_archive(import_module("dynamic_job").run)
    assert own_names_in(archive) == ["dynamic_job.py", "dynamic_plugins/__init__.py", "dynamic_plugins/csv.py"]


def test_own_code_that_is_required_as_a_library_travels_with_the_libraries(write: Any) -> None:
    write({"priv_job.py": f"import acme_private\n{PROGRAM}", "acme_private/__init__.py": ""})
    program = import_module("priv_job").run
    assert own_names_in(code_archive(program)) == ["acme_private/__init__.py", "priv_job.py"]
    assert own_names_in(code_archive(program, ["acme-private>=1"])) == ["priv_job.py"]


def test_imported_code_that_cannot_travel_is_refused_by_name(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write({
        "odd_job.py": f"def f():\n    import odd_helper\n{PROGRAM}",
        "lenient_job.py": f"try:\n    import odd_helper\nexcept ImportError:\n    pass\n{PROGRAM}",
        "fast_job.py": f"def f():\n    import quick\n{PROGRAM}",
        "quick/__init__.py": "",
    })  # fmt: skip
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as packed:
        packed.writestr("odd_helper.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "odd.zip"))
    with pytest.raises(
        PackagingError, match=r"odd_helper \(.*odd_job\.py, line 2, imports odd_helper\) comes from .*zip"
    ):
        code_archive(import_module("odd_job").run)
    assert own_names_in(code_archive(import_module("lenient_job").run)) == ["lenient_job.py"]
    (root / "quick" / "_speedups.so").write_bytes(b"")
    with pytest.raises(PackagingError, match="package quick has a compiled part"):
        code_archive(import_module("fast_job").run)


def test_nothing_is_sent_twice(folder: str) -> None:
    objects = CountingObjects()
    shelf = Artifacts(objects, folder)
    ledger = Ledger()
    uri = shelf.put(".zip", b"code", ledger)
    assert ledger.done() == {"Sending code": (4, 4)}
    assert uri == f"{folder}/code/{hashlib.sha256(b'code').hexdigest()}.zip"
    assert objects.read(uri) == b"code"
    assert shelf.put(".zip", b"code") == uri
    assert objects.asked == ["exists", "upload"]

    later = CountingObjects()
    assert Artifacts(later, folder).put(".zip", b"code") == uri
    assert later.asked == ["exists"]
    assert shelf.put(".py", b"other").endswith(".py")


def test_whoever_comes_second_is_content(folder: str) -> None:
    objects = CountingObjects()
    together = threading.Barrier(2)
    objects.before_upload = lambda: (together.wait(HUNG_SECONDS), None)[1]
    uris: list[str] = []
    threads = [
        threading.Thread(target=lambda: uris.append(Artifacts(objects, folder).put(".zip", b"code"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG_SECONDS)
    assert len(uris) == 2
    assert len(set(uris)) == 1
    assert objects.read(uris[0]) == b"code"
    assert objects.asked.count("upload") == 2


def test_files_keep_their_names(folder: str, tmp_path: Path) -> None:
    objects = CountingObjects()
    shelf = Artifacts(objects, folder)
    jar = tmp_path / "delta-spark_2.12.jar"
    jar.write_bytes(b"jar" * 1_000_000)
    ledger = Ledger()
    uri = shelf.put_file("jars", jar, ledger)
    assert ledger.done() == {"Sending delta-spark_2.12.jar": (3_000_000, 3_000_000)}
    assert uri == f"{folder}/jars/{hashlib.sha256(jar.read_bytes()).hexdigest()}/delta-spark_2.12.jar"
    assert objects.read(uri) == jar.read_bytes()
    assert shelf.put_file("jars", str(jar), ledger) == uri
    assert len(ledger.works) == 1
    assert Artifacts(objects, folder).put_file("jars", jar) == uri
    assert objects.asked == ["exists", "upload", "exists"]
    assert shelf.put_file("files", jar).startswith(f"{folder}/files/")


@pytest.mark.parametrize("name", ["a b.jar", "a,b.jar", "a#b.jar", "ü.jar"])
def test_files_whose_names_spark_would_read_as_something_else(folder: str, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"jar")
    with pytest.raises(InvalidValue, match="allowed: names of letters, digits and"):
        Artifacts(CountingObjects(), folder).put_file("jars", tmp_path / name)


def test_uris_of_files_are_the_clusters_business(folder: str, tmp_path: Path) -> None:
    objects = CountingObjects()
    shelf = Artifacts(objects, folder)
    for uri in ("s3://elsewhere/x.jar", "local:/usr/lib/x.jar", "https://repo.example/x.jar", "hdfs:///x.jar"):
        assert shelf.put_file("jars", uri) == uri
    assert objects.asked == []
    with pytest.raises(InvalidValue, match=r"files is 'file:///x\.conf'; allowed: a path on this machine without"):
        shelf.put_file("files", "file:///x.conf")
    with pytest.raises(InvalidValue, match=r"jars is '.*none\.jar'; allowed: a file that can be read \(No such file"):
        shelf.put_file("jars", tmp_path / "none.jar")
