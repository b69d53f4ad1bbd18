"""Place a step's files and archives in the working directory of its containers, as YARN does.

Executors always run in containers; in client mode the driver does not, and gets neither (SPARK-21859, SPARK-36088).
Spark would give them to the driver, so it is not told about them. Executors of a local cluster are processes: the
step's `java` links the files into the folder in which an executor starts. With a local master, executors are part of
the driver's process, and their Python workers start in the folder with the files.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from emr_emulator.commands import CannotRun, local_path


def place(uri: str, folder: Path, buckets: Path, unpack: bool) -> None:
    """Copy a file or unpack an archive into a folder, under the name after its `#` if there is one.

    Raises CannotRun.
    """
    address, _, name = uri.partition("#")
    source = _source(address, buckets)
    target = folder / (name or source.name)
    if not unpack:
        shutil.copyfile(source, target)
        return
    try:
        shutil.unpack_archive(source, target)
    except (shutil.ReadError, ValueError) as error:
        raise CannotRun(f"{address!r} cannot be unpacked: {error}.") from error
    for binary in target.glob("bin/*"):  # zipfile drops permissions
        binary.chmod(binary.stat().st_mode | 0o111)


def _source(address: str, buckets: Path) -> Path:
    if address.startswith(("s3://", "s3a://", "s3n://")):
        return local_path(address, buckets)
    if "://" in address and not address.startswith("file://"):
        raise CannotRun(f"The emulator has files of S3 and of this machine, not {address!r}.")
    source = Path(unquote(urlsplit(address).path) if address.startswith("file:") else address)
    if not source.is_file():
        raise CannotRun(f"File {address} does not exist.")
    return source


def link_all(source: Path, target: Path) -> None:
    """Link everything in a folder into another one, as YARN does in a container's working directory."""
    for entry in source.iterdir():
        (target / entry.name).symlink_to(entry)


def make_worker_python(path: Path, python: str, folder: Path) -> None:
    """Create a command that starts Python in a folder."""
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(folder))} && exec {shlex.quote(python)} "$@"\n')
    path.chmod(0o755)
