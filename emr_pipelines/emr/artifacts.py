"""What a cluster is sent: programs' code as one zip, and other files; each once, under a name made of its bytes."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from types import ModuleType
from typing import Any, Literal

from emr_pipelines.emr.objects import Objects, join
from emr_pipelines.emr.report import Reporter, no_report
from emr_pipelines.errors import CannotTravel, InvalidValue
from emr_pipelines.programs.wire import name_of

Program = Callable[..., Any]

MOST_BYTES = 100 * 1000**2
THIS_PACKAGE = "emr_pipelines"
PARTS_OF_THIS_PACKAGE = ("__init__.py", "errors.py", "programs")  # what a program and its entrypoint import
PIPES = "dagster_pipes"  # one pure Python package; there is no pip on a cluster that has no way out
COMPILED = (".so", ".pyd", ".dylib")
BYTE_CODE = (".pyc", ".pyo")
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can say
NAME = re.compile(r"[A-Za-z0-9._+=@-]+")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True)
class Archive:
    """A zip, and the hex digest of its bytes."""

    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.sha256}.zip"


class Artifacts:
    """Files in a folder of a bucket, content-addressed: what is there already is not sent again.

    It remembers what it has seen there, so a second program of a run costs no call. Each call may raise the AwsErrors
    that `Objects` does.
    """

    def __init__(self, objects: Objects, folder: str) -> None:
        """folder: the s3:// URI below which code/, jars/ and files/ are."""
        self._objects = objects
        self._folder = folder
        self._there: set[str] = set()

    def put(self, suffix: str, data: bytes, report: Reporter = no_report) -> str:
        """The URI of `code/<sha256><suffix>`, which is sent unless it is there. suffix: .zip or .py, say."""
        uri = join(self._folder, "code", f"{hashlib.sha256(data).hexdigest()}{suffix}")
        if uri not in self._there:
            if not self._objects.exists(uri):
                with report("Sending code", total=len(data)) as work, NamedTemporaryFile() as file:
                    file.write(data)
                    file.flush()
                    self._objects.upload(uri, Path(file.name), work.advance)
            self._there.add(uri)
        return uri

    def put_file(self, kind: Literal["jars", "files"], location: str | Path, report: Reporter = no_report) -> str:
        """The URI of a user's own file, as the cluster finds it.

        A path on this machine is sent as `<kind>/<sha256>/<its name>`, for Spark knows files by their name; a URI, such
        as s3://bucket/x.jar or local:/usr/lib/x.jar, is the cluster's business and comes back as it is. Raises
        InvalidValue.
        """
        if URI.match(str(location)):
            if str(location).startswith("file:"):
                allowed = "a path on this machine without file:, s3://bucket/key, or local:/path of the cluster"
                raise InvalidValue(kind, str(location), allowed)
            return str(location)
        path = Path(location)
        if not NAME.fullmatch(path.name):
            raise InvalidValue(
                kind, str(location), "names of letters, digits and . _ + = @ -, for Spark reads them in URIs"
            )
        try:
            with path.open("rb") as stream:
                digest = hashlib.sha256()
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InvalidValue(kind, str(location), f"a file that can be read ({error.strerror}), or a URI") from error
        uri = join(self._folder, kind, digest.hexdigest(), path.name)
        if uri not in self._there:
            if not self._objects.exists(uri):
                with report(f"Sending {path.name}", total=path.stat().st_size) as work:
                    self._objects.upload(uri, path, work.advance)
            self._there.add(uri)
        return uri


def requirements_of(program: Program) -> tuple[str, ...]:
    """What the module of a program says that a cluster must have, in its REQUIREMENTS; nothing when it has none.
    Raises InvalidValue, CannotTravel."""
    module = _module_of(program)
    found = getattr(module, "REQUIREMENTS", ())
    if not isinstance(found, (tuple, list)) or not all(isinstance(line, str) for line in found):
        allowed = "a tuple of requirements, such as ('numpy>=2', 'polars==1.31.0')"
        raise InvalidValue(f"REQUIREMENTS of {module.__name__}", found, allowed)
    return tuple(found)


def code_archive(programs: Iterable[Program]) -> Archive:
    """The source of the programs' top-level packages (or modules of one file), of what their entrypoint imports, and of
    dagster_pipes, as one zip for the path of a Python: the same bytes for the same source, on any machine.

    All files of a package travel, but hidden ones and byte code. Of this package only the parts that run on a cluster
    do. Raises CannotTravel: for compiled parts, for more than 100 MB, and for what is no source file in a folder.
    """
    here = Path(import_module(THIS_PACKAGE).__path__[0])
    files = {
        name: path for part in PARTS_OF_THIS_PACKAGE for name, path in _files(here / part, f"{THIS_PACKAGE}/{part}")
    }
    files |= _sources(import_module(PIPES), PIPES)
    for program in programs:
        name = name_of(program)
        module = name.partition(":")[0]
        ours = module.partition(".")[0] == THIS_PACKAGE
        if not ours:
            files |= _sources(_module_of(program), module)
        if not {f"{module.replace('.', '/')}{end}" for end in (".py", "/__init__.py")} & set(files):
            origin = getattr(_module_of(program), "__file__", None)
            allowed = f"{THIS_PACKAGE}.programs, or a package of your own" if ours else "a source file in a folder"
            raise CannotTravel(f"The program {name} comes from {origin}; allowed: {allowed}.")
    data = _zipped(files)
    return Archive(data, hashlib.sha256(data).hexdigest())


def zip_entry(name: str, mode: int) -> zipfile.ZipInfo:
    """An entry that is the same whenever and wherever it is made. mode: as os.stat has it, with the file's kind."""
    entry = zipfile.ZipInfo(name, ZIP_EPOCH)
    entry.create_system = 3  # Unix, also on Windows, so that the mode counts
    entry.external_attr = mode << 16
    return entry


def _module_of(program: Program) -> ModuleType:
    name_of(program)  # raises when it is no function of a module
    return sys.modules[program.__module__]


def _sources(module: ModuleType, name: str) -> dict[str, Path]:
    """The files of the top-level package that a module is in, by their path in an archive.

    A package may lie in several folders, and its parts elsewhere (namespaces, editable installs), so each package on
    the way to the module is asked for its own folders; what comes first on the path counts.
    """
    names = name.split(".")
    found: dict[str, Path] = {}
    for depth in range(1, len(names) + 1):
        part = module if depth == len(names) else sys.modules[".".join(names[:depth])]
        base = "/".join(names[:depth])
        if hasattr(part, "__path__"):
            inner = [pair for folder in reversed(list(part.__path__)) for pair in _files(Path(folder), base)]
        else:
            own = Path(getattr(part, "__file__", None) or "")
            inner = list(_files(own, f"{base}{own.suffix}")) if own.suffix == ".py" else []
        found = {**dict(inner), **found}
    for path in found.values():
        if path.suffix in COMPILED:
            raise CannotTravel(
                f"The package {names[0]} has a compiled part, {path}, made for this machine; put what is compiled in a "
                "package of its own and name that in the program's REQUIREMENTS."
            )
    sizes = {path: path.stat().st_size for path in found.values()}
    if sum(sizes.values()) > MOST_BYTES:
        raise CannotTravel(
            f"The package {names[0]} has {sum(sizes.values()) / 1e6:,.0f} MB of files, the largest "
            f"{max(sizes, key=lambda path: sizes[path])}; allowed: {MOST_BYTES / 1e6:,.0f} MB; keep data in S3."
        )
    return found


def _files(path: Path, name: str, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, Path]]:
    """The file, or the files below the folder, by their names in an archive; through links, but not in circles."""
    if path.is_dir():
        real = path.resolve()
        if real not in above:
            for inner in path.iterdir():
                if not inner.name.startswith(".") and inner.name != "__pycache__":
                    yield from _files(inner, f"{name}/{inner.name}", (*above, real))
    elif path.is_file() and path.suffix not in BYTE_CODE:
        yield name, path


def _zipped(files: Mapping[str, Path]) -> bytes:
    # stored, because the same text is compressed to other bytes by another zlib; folders have entries, because Python
    # before 3.13 finds no namespace package in a zip without
    folders = {f"{parent}/" for name in files for parent in PurePosixPath(name).parents} - {"./"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted({*files, *folders}):
            if name in folders:
                archive.writestr(zip_entry(name, stat.S_IFDIR | 0o755), b"")
                continue
            try:
                archive.writestr(zip_entry(name, stat.S_IFREG | 0o644), files[name].read_bytes())
            except (OSError, UnicodeEncodeError) as error:
                raise CannotTravel(f"{str(files[name])!r} cannot be packed: {error}.") from error
    return buffer.getvalue()
