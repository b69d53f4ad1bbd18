"""Build a program's requirements for a cluster: one zip of wheels for its platform, built once, on any machine.

Amazon EMR 7.x runs Amazon Linux 2023, whose glibc is 2.34, on x86_64 or arm64 (Graviton). uv finds wheels for another
platform than its own, so neither Docker nor a machine of that kind is needed, and nothing is compiled.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.aws.redaction import masked
from emr_pipelines.errors import InvalidValue, PackagingError
from emr_pipelines.job.artifacts import zip_entry
from emr_pipelines.job.index_errors import not_fetched
from emr_pipelines.job.requirements import BROUGHT_BY_SPARK, normalized
from emr_pipelines.report import Reporter, no_report

FORMAT = 1  # of the archive's format; raise it when the same requirements are packed in another way
PLATFORMS = {  # by EC2's names and by the kernel's
    "x86_64": "x86_64-manylinux_2_34",
    "arm64": "aarch64-manylinux_2_34",
    "aarch64": "aarch64-manylinux_2_34",
}
MADE_BY_UV = (".lock", "uv_cache.json")
LOOK_SECONDS = 1.0  # between two looks at uv, while it works
YES = {"1", "true", "yes", "on", "y", "t"}  # as pip has it
UV_SOURCES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")


class Dependencies:
    """Archives of libraries in a folder on S3, named by their requirements; an existing archive is not built again.

    A requirement without a version means the newest version when the archive was built, until the archive is deleted;
    pin it with `==`.
    """

    def __init__(self, objects: Objects, folder: str) -> None:
        """folder: the s3:// URI of the folder that has deps/."""
        self._objects = objects
        self._folder = folder
        self._there: set[str] = set()
        self._lock = threading.Lock()

    def archive(
        self,
        requirements: Iterable[str],
        architecture: str = "x86_64",
        python_version: str = "3.11",
        log: Callable[[str], None] = print,
        report: Reporter = no_report,
    ) -> str | None:
        """Return the URI of `deps/<key>.zip`, which is built and uploaded if it does not exist; None without
        requirements.

        Unpacked into a folder on PYTHONPATH, it provides the requirements. Raises InvalidValue, AwsErrors, and
        PackagingError if there is no wheel for the platform.
        """
        lines = normalized(requirements)
        uri = self.uri(lines, architecture, python_version)
        if uri is None:
            return None
        with self._lock:  # per process: two processes may build the same archive, with the same result
            if uri not in self._there:
                if not self._objects.exists(uri):
                    self._build(lines, architecture, python_version, uri, log, report)
                self._there.add(uri)
        return uri

    def uri(self, requirements: Iterable[str], architecture: str, python_version: str) -> str | None:
        """Return the URI that `archive` returns, without building. Raises InvalidValue."""
        lines = normalized(requirements)
        return join(self._folder, "deps", f"{key(lines, python_version, architecture)}.zip") if lines else None

    def _build(
        self,
        lines: list[str],
        architecture: str,
        python_version: str,
        uri: str,
        log: Callable[[str], None],
        report: Reporter,
    ) -> None:
        what = f"{_listed(lines)} for Python {python_version} on {architecture}"
        log(f"Building an archive of {what}; later runs will find it at {uri}.")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="emr_pipelines-deps-") as scratch:
            path = build(lines, Path(scratch), architecture, python_version, report)
            built = time.monotonic()
            size = path.stat().st_size
            with report("Sending the packages", total=size) as work:
                self._objects.upload(uri, path, work.advance)
        log(f"Built {size / 1e6:,.1f} MB in {built - began:.0f} s and sent it in {time.monotonic() - built:.0f} s.")


def key(requirements: Iterable[str], python_version: str = "3.11", architecture: str = "x86_64") -> str:
    """A hex digest of what an archive is built from. Raises InvalidValue."""
    platform, python_version = _platform(architecture), _python(python_version)
    return hashlib.sha256(json.dumps([FORMAT, platform, python_version, normalized(requirements)]).encode()).hexdigest()


def build(
    requirements: Iterable[str],
    scratch: Path,
    architecture: str = "x86_64",
    python_version: str = "3.11",
    report: Reporter = no_report,
) -> Path:
    """Build the archive of the requirements and their dependencies, in the empty folder `scratch`.
    Raises InvalidValue, PackagingError."""
    import uv  # with its program, which this needs alone

    lines = normalized(requirements)
    target = scratch / "packages"
    target.mkdir()
    asked, excluded = scratch / "requirements.txt", scratch / "overrides.txt"
    asked.write_text("\n".join(lines), encoding="utf-8")
    excluded.write_text("\n".join(f"{name} ; python_version < '3'" for name in BROUGHT_BY_SPARK))  # so: never
    environment, options = uv_settings()
    command = [
        uv.find_uv_bin(), "pip", "install", "--no-progress", "--target", str(target), "--python", sys.executable,
        "--python-platform", _platform(architecture), "--python-version", _python(python_version),
        "--only-binary", ":all:", "--overrides", str(excluded), *options, "--requirements", str(asked),
    ]  # fmt: skip
    with report(f"Fetching {_listed(lines)} and what that requires") as work:
        returncode, said = _run(command, environment, work.heartbeat)
    if returncode != 0:
        raise PackagingError(not_fetched(_listed(lines), said, f"Python {python_version} on {architecture}"))
    archive = scratch / "deps.zip"
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    with report("Packing the packages", total=size) as work:
        pack(target, archive, work.advance)
    shutil.rmtree(target)  # several times the archive's size
    return archive


def _run(command: list[str], environment: dict[str, str], heartbeat: Callable[[], None]) -> tuple[int, str]:
    """Run a command and return its exit code and its stderr. Calls `heartbeat` each second, and ends the command when
    this process is interrupted."""
    with subprocess.Popen(  # noqa: S603 (uv, as it is installed)
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            while True:
                try:
                    _, said = process.communicate(timeout=LOOK_SECONDS)
                except subprocess.TimeoutExpired:  # noqa: PERF203 (a loop over seconds)
                    heartbeat()
                else:
                    return process.returncode, said
        except BaseException:
            process.kill()
            process.wait()
            raise


def pack(folder: Path, archive: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Zip an installation, with file modes; the same wheels and zlib give the same bytes.

    Leaves out what belongs to this machine: byte code, and scripts that name its Python. Tests and .pyi files are kept,
    because packages may import or read them (lazy_loader does). advance: is called with the bytes packed since.
    """
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    dropped = {name for name, path in names.items() if _of_this_machine(name, path)}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(set(names) - dropped):
            path = names[name]
            mode = stat.S_IFREG | (0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
            entry = zip_entry(name, mode)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.file_size = path.stat().st_size  # lets zipfile choose the format for files above 2 GB
            with packed.open(entry, "w") as stream:
                if name.endswith(".dist-info/RECORD"):
                    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
                    stream.write("".join(row for row in rows if row.partition(",")[0] not in dropped).encode())
                else:
                    with path.open("rb") as content:
                        shutil.copyfileobj(content, stream, 1 << 20)
            advance(path.stat().st_size)


def _of_this_machine(name: str, path: Path) -> bool:
    if path.name in MADE_BY_UV or path.suffix == ".pyc":
        return True
    if not name.startswith("bin/"):
        return False
    with path.open("rb") as stream:
        return stream.read(2) == b"#!"  # programs without it, which wheels carry for their packages, stay


def uv_settings() -> tuple[dict[str, str], list[str]]:
    """Return the environment and options that make uv use pip's indexes, because uv does not read pip's settings. If
    uv's own variables name an index, only those count."""
    environment = dict(os.environ)
    if any(environment.get(name) for name in UV_SOURCES):
        return environment, []
    pip = pip_settings()
    wanted = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "")),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
    }
    if wanted["UV_INDEX"] or wanted["UV_FIND_LINKS"]:
        wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip: the best version, wherever it is
    for name, value in wanted.items():
        if value:
            environment.setdefault(name, value)
    return environment, ["--no-index"] if pip.get("no-index", "").lower() in YES else []


def pip_settings() -> dict[str, str]:
    """Read pip's settings by option, whether or not pip is installed: its files, in its order, and PIP_* variables. https://pip.pypa.io/en/stable/topics/configuration/"""
    home = Path.home()
    configured = os.environ.get("PIP_CONFIG_FILE", "")
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    machine = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), Path("/Library/Application Support/pip/pip.conf")]
    user = [home / ".pip/pip.conf", home / "Library/Application Support/pip/pip.conf", config_home / "pip/pip.conf"]
    own = [Path(sys.prefix) / "pip.conf"]
    given = [Path(configured)] if configured else []
    files = [*machine, *([] if given and given[0].is_file() else user), *own, *given]
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in files if configured != os.devnull else []:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise InvalidValue("pip's configuration", str(file), f"a file that pip can read ({error})") from error
        for name in sections.keys() & set(parser.sections()):
            sections[name] |= {option.replace("_", "-"): value for option, value in parser[name].items()}
    variables = {name[4:]: value for name, value in os.environ.items() if name.startswith("PIP_") and value}
    from_variables = {name.lower().replace("_", "-"): value for name, value in variables.items()}
    return sections["global"] | sections["install"] | from_variables


def _platform(architecture: str) -> str:
    if architecture not in PLATFORMS:
        raise InvalidValue("The architecture", architecture, " or ".join(sorted(PLATFORMS)))
    return PLATFORMS[architecture]


def _python(version: str) -> str:
    if not re.fullmatch(r"3\.\d{1,2}", version):
        raise InvalidValue("The cluster's Python version", version, "a version such as 3.11")
    return version


def _listed(lines: list[str]) -> str:
    return masked(", ".join(lines))
