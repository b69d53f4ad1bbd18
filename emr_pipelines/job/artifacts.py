"""Upload what a cluster needs: a program's code as one zip, and other files. Each is named by a digest of its bytes and
uploaded once."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

from packaging.utils import canonicalize_name

from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.errors import InvalidValue, PackagingError
from emr_pipelines.job.imports import OwnModule, walk
from emr_pipelines.job.modules import SHIPPED_PARTS, THIS_PACKAGE, Home, home_of, is_library, is_within, unit_of
from emr_pipelines.job.source import Certainty
from emr_pipelines.remote.codec import name_of
from emr_pipelines.report import Reporter, no_report

Program = Callable[..., Any]
FileKind = Literal["jars", "files"]

MAX_BYTES = 100 * 1000**2
PIPES = "dagster_pipes"  # one pure Python package; there is no pip on a cluster that has no way out
COMPILED = (".so", ".pyd", ".dylib")
BYTE_CODE = (".pyc", ".pyo")
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip
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
    """Content-addressed files in a folder on S3; existing files are not uploaded again.

    It remembers which exist, so a second program of a run costs no call. Each call may raise AwsErrors.
    """

    def __init__(self, objects: Objects, folder: str) -> None:
        """folder: the s3:// URI below which code/, jars/ and files/ are."""
        self._objects = objects
        self._folder = folder
        self._there: set[str] = set()

    def put(self, suffix: str, data: bytes, report: Reporter = no_report) -> str:
        """Return the URI of `code/<sha256><suffix>`, which is uploaded unless it is there. suffix: .zip or .py."""
        uri = self.uri(suffix, data)
        if self._is_missing(uri):
            with report("Sending code", total=len(data)) as work, NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                self._objects.upload(uri, Path(file.name), work.advance)
        self._there.add(uri)
        return uri

    def put_file(self, kind: FileKind, location: str | Path, report: Reporter = no_report) -> str:
        """Return the URI of a user's own file, which is uploaded unless it is there. See `file_uri`."""
        uri = self.file_uri(kind, location)
        if uri != str(location) and self._is_missing(uri):
            path = Path(location)
            with report(f"Sending {path.name}", total=path.stat().st_size) as work:
                self._objects.upload(uri, path, work.advance)
        self._there.add(uri)
        return uri

    def uri(self, suffix: str, data: bytes) -> str:
        """Return where `put` puts the data."""
        return join(self._folder, "code", f"{hashlib.sha256(data).hexdigest()}{suffix}")

    def file_uri(self, kind: FileKind, location: str | Path) -> str:
        """Return where `put_file` puts a file: `<kind>/<sha256>/<its name>`, because Spark knows files by their names.

        A URI, such as s3://bucket/x.jar or local:/usr/lib/x.jar, is for the cluster to find and is returned as it is.
        Raises InvalidValue.
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
        return join(self._folder, kind, digest.hexdigest(), path.name)

    def _is_missing(self, uri: str) -> bool:
        return uri not in self._there and not self._objects.exists(uri)


def code_archive(program: Program, requirements: Iterable[str] = ()) -> Archive:
    """Zip a program, the user's own modules that it imports, what the entrypoint needs, and dagster_pipes.

    The same source gives the same bytes on any machine. A package is sent with all its files except hidden ones and
    byte code; a namespace package with the packages and modules that the program imports; this package with what every
    program needs. A package of the user's that `requirements` name is sent with the libraries instead.

    Raises PackagingError for compiled modules, more than 100 MB, and modules that are not source files in a folder.
    """
    name = name_of(program)
    root = name.partition(":")[0]
    if home_of(root) is Home.DAGSTER:
        allowed = f"{THIS_PACKAGE}.pipelines, or a package of your own"
        raise PackagingError(f"The program {name} is in a part of {THIS_PACKAGE} that stays here; allowed: {allowed}.")
    found = walk(root)
    required = {canonicalize_name(re.split(r"[^\w.-]", line.strip())[0]) for line in requirements}
    packages: dict[str, list[OwnModule]] = {}
    files = _of_this_package()
    for module in found.own.values():
        unit = unit_of(module.name)
        if unit == THIS_PACKAGE:
            files |= _file_of(module)
        elif unit == unit_of(root) or canonicalize_name(unit) not in required:
            packages.setdefault(unit, []).append(module)
    for unit, modules in packages.items():
        refused = [module for module in modules if not _has_source(module)]
        if refused and (needed := {module.name for module in refused} & set(walk(root, Certainty.LATER).own)):
            raise PackagingError(_not_source(next(module for module in refused if module.name in needed)))
        folders = [module for module in modules if module not in refused]
        files |= _sources(unit, folders, with_libraries=is_within(unit, found.named))
    data = _zipped(files)
    return Archive(data, hashlib.sha256(data).hexdigest())


def zip_entry(name: str, mode: int) -> zipfile.ZipInfo:
    """Return an entry that does not depend on the machine or the time. mode: as from os.stat."""
    entry = zipfile.ZipInfo(name, ZIP_EPOCH)
    entry.create_system = 3  # Unix, also on Windows, so that the mode counts
    entry.external_attr = mode << 16
    return entry


def _of_this_package() -> dict[str, Path]:
    here = Path(import_module(THIS_PACKAGE).__path__[0])
    pipes = import_module(PIPES)
    parts = (part if (here / part).is_dir() else f"{part}.py" for part in ("__init__", *SHIPPED_PARTS))
    ours = {name: path for part in parts for name, path in _files(here / part, f"{THIS_PACKAGE}/{part}")}
    return ours | {name: path for folder in pipes.__path__ for name, path in _files(Path(folder), PIPES)}


def _file_of(module: OwnModule) -> dict[str, Path]:
    """Return the file of one module of this package: the examples are sent module by module."""
    base, file = module.name.replace(".", "/"), module.place.file
    if file is None:
        return {}
    return {f"{base}/__init__.py" if module.place.folders is not None else f"{base}.py": Path(file)}


def _has_source(module: OwnModule) -> bool:
    file, folders = module.place
    if file is None:
        return any(map(os.path.isdir, folders or ()))
    return file.endswith(".py") and os.path.isfile(file)  # noqa: PTH113 (a text, as the import system has it)


def _not_source(module: OwnModule) -> str:
    by = f" ({module.found})" if module.found.file else ""
    allowed = "a source file in a folder; what is compiled belongs in a package of its own, named in REQUIREMENTS"
    return f"The module {module.name}{by} comes from {module.place.file}; allowed: {allowed}."


def _sources(unit: str, modules: Iterable[OwnModule], *, with_libraries: bool) -> dict[str, Path]:
    """Yield the files of a package or module by their path in an archive; a namespace package has none.

    Parts of a package may be elsewhere (editable installs), so each imported module is asked for its folders; the first
    on the path counts.
    """
    found: dict[str, Path] = {}
    for module in sorted(modules, key=lambda module: module.name.count(".")):
        base, (file, folders) = module.name.replace(".", "/"), module.place
        if file and folders is not None:
            own = [Path(folder) for folder in folders if with_libraries or not is_library(folder)]
            found = {**{name: path for folder in reversed(own) for name, path in _files(folder, base)}, **found}
        elif file:
            found.setdefault(f"{base}.py", Path(file))
    for path in found.values():
        if path.suffix in COMPILED:
            raise PackagingError(
                f"The package {unit} has a compiled part, {path}, made for this machine; put what is compiled in a "
                "package of its own and name that in the program's REQUIREMENTS."
            )
    sizes = {path: path.stat().st_size for path in found.values()}
    if sum(sizes.values()) > MAX_BYTES:
        raise PackagingError(
            f"The package {unit} has {sum(sizes.values()) / 1e6:,.0f} MB of files, the largest "
            f"{max(sizes, key=lambda path: sizes[path])}; allowed: {MAX_BYTES / 1e6:,.0f} MB; keep data in S3."
        )
    return found


def _files(path: Path, name: str, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, Path]]:
    """Yield a file, or the files below a folder, by their names in an archive. Follows links, each folder once."""
    if path.is_dir():
        real = path.resolve()
        if real not in above:
            for inner in path.iterdir():
                if not inner.name.startswith(".") and inner.name != "__pycache__":
                    yield from _files(inner, f"{name}/{inner.name}", (*above, real))
    elif path.is_file() and path.suffix not in BYTE_CODE:
        yield name, path


def _zipped(files: Mapping[str, Path]) -> bytes:
    # stored, because the same text is compressed to other bytes by another zlib
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            try:
                archive.writestr(zip_entry(name, stat.S_IFREG | 0o644), files[name].read_bytes())
            except (OSError, UnicodeEncodeError) as error:  # noqa: PERF203 (to name the file)
                raise PackagingError(f"{str(files[name])!r} cannot be packed: {error}.") from error
    return buffer.getvalue()
