"""The Hadoop file system through which Spark uses the emulated S3: its jar, its settings, its build.

The jar is committed beside its Java sources, so that users need no Java compiler. This command builds it:

    python -m emr_emulator.filesystem

It needs `javac` and the installed pyspark, and works with Spark 3.5 and 4.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import tempfile
import zipfile
from pathlib import Path

SOURCES = Path(__file__).parent / "java"
JAR = SOURCES / "emulator-s3.jar"
DIGEST = "META-INF/sources.sha256"  # entry of the jar with the digest of its sources
SCHEMES = ("s3", "s3a", "s3n")
FIRST_TIME = (1980, 1, 1, 0, 0, 0)  # time of all entries, so that the same sources give the same jar


def settings(buckets: Path) -> dict[str, str]:
    """Return Spark settings that map `s3://bucket/key` to the file `bucket/key` in this folder."""
    return {
        **{f"spark.hadoop.fs.{scheme}.impl": "emr_emulator.S3FileSystem" for scheme in SCHEMES},
        "spark.hadoop.fs.emulator.buckets": str(buckets),
    }


def sources_digest() -> str:
    """Return a digest of the Java sources."""
    texts = [path.read_bytes() for path in sorted(SOURCES.rglob("*.java"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def build() -> None:
    """Compile the sources and write the jar."""
    pyspark = importlib.util.find_spec("pyspark")
    if pyspark is None or not pyspark.submodule_search_locations:
        raise SystemExit("There is no pyspark whose Hadoop classes the sources could be compiled with.")
    classpath = f"{pyspark.submodule_search_locations[0]}/jars/*"
    with tempfile.TemporaryDirectory() as classes:
        files = map(str, sorted(SOURCES.rglob("*.java")))
        command = ["javac", "--release", "8", "-Xlint:-options", "-cp", classpath, "-d", classes, *files]
        subprocess.run(command, check=True)  # noqa: S603 (our own sources)
        with zipfile.ZipFile(JAR, "w", zipfile.ZIP_DEFLATED) as jar:
            for path in sorted(Path(classes).rglob("*.class")):
                jar.writestr(zipfile.ZipInfo(str(path.relative_to(classes)), FIRST_TIME), path.read_bytes())
            jar.writestr(zipfile.ZipInfo(DIGEST, FIRST_TIME), sources_digest())


if __name__ == "__main__":
    build()
