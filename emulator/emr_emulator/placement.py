"""Files and archives of a step where YARN places them: in the working directory of its containers.

In client mode the driver is no container and gets neither (SPARK-21859, SPARK-36088); executors always are. So Spark is
not told of them. Executors of a local cluster are processes of their own: the `java` of the step links the files into
the folder that an executor starts in. With a local master executors live in the driver's process: there it is their
Python workers that are started in the folder with the files.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from emr_emulator.commands import CannotRun, local_path
from emr_emulator.supervise import EXECUTOR_CLASS


def place(uri: str, folder: Path, buckets: Path, unpack: bool) -> None:
    """Copy a file, or unpack an archive, into a folder, under the name behind its `#` if it has one.

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
    for binary in target.glob("bin/*"):  # zip files lose the permission to execute
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
    """Link everything in a folder into another, as YARN does in a container's working directory."""
    for entry in source.iterdir():
        (target / entry.name).symlink_to(entry)


def make_worker_python(path: Path, python: str, folder: Path) -> None:
    """A command that starts Python in a folder."""
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(folder))} && exec {shlex.quote(python)} "$@"\n')
    path.chmod(0o755)


def make_java_home(path: Path, java_home: str | None, folder: Path) -> Path:
    """A JAVA_HOME whose `java` links everything in a folder into the working directory of an executor."""
    real = Path(java_home) if java_home else Path(shutil.which("java") or "").resolve().parents[1]
    (path / "bin").mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name != "bin":
            (path / entry.name).symlink_to(entry)
    for entry in (real / "bin").iterdir():
        if entry.name != "java":
            (path / "bin" / entry.name).symlink_to(entry)
    java = path / "bin" / "java"
    java.write_text(
        f"""#!/bin/sh
case " $* " in *" {EXECUTOR_CLASS} "*)
  find {shlex.quote(str(folder))} -mindepth 1 -maxdepth 1 -exec ln -s {{}} . ';'
esac
exec {shlex.quote(str(real / "bin" / "java"))} "$@"
"""
    )
    java.chmod(0o755)
    return path
