"""Shorten a traceback to the program's own frames, and count those of Spark and of libraries. Pure."""

from __future__ import annotations

import re

FRAME = re.compile(r'  File "(?P<path>[^"]+)", line \d+')
OF_FRAME = ("    ", "  [Previous line repeated ")  # how lines below it begin that belong to it
SHIPPED = re.compile(r'(?<=")[^"]*/shipped_code/')  # where a program's code is unpacked
# up to the name that is imported
LIBRARY = re.compile(
    r".*/(?:(?:site|dist)-packages|lib/python3[^/]*|spark/python|dependencies(?:-[^/]*)?|(?:pyspark|py4j[^/]*)\.zip)/"
)
CONVERTER = "pyspark/errors/exceptions/"  # it raises Java's errors anew, as Python's
# Python's own, the entrypoint, which is called by its digest, and what it calls
STARTER = re.compile(r"<.*>|.*/[0-9a-f]{64}\.py|.*/shipped_code/emr_pipelines/remote/(?:driver|entrypoint)\.py")


def own_frames(text: str, package: str = "") -> str:
    """Shorten the tracebacks in a text. Keeps the frames outside libraries, those of the program's top-level `package`
    wherever it is installed, and the innermost frame of each traceback."""
    parts = _parts(text)
    kept: list[str] = []
    dropped = 0
    for part, following in zip(parts, [*parts[1:], [""]], strict=True):
        raises = not FRAME.match(following[0]) and CONVERTER not in part[0]
        if _is_foreign(part[0], package) and not raises:
            dropped += 1
            continue
        if dropped:
            kept.append(f"  ... {dropped} frame{'s' * (dropped > 1)} of Spark and of libraries")
        dropped = 0
        kept += part
    return SHIPPED.sub("", "\n".join(kept))


def _parts(text: str) -> list[list[str]]:
    """Split a text into frames, each with its source lines, and single other lines."""
    parts: list[list[str]] = []
    for line in text.split("\n"):
        if parts and FRAME.match(parts[-1][0]) and line.startswith(OF_FRAME) and not FRAME.match(line):
            parts[-1].append(line)
        else:
            parts.append([line])
    return parts


def _is_foreign(line: str, package: str) -> bool:
    found = FRAME.match(line)
    if not found:
        return False
    if STARTER.fullmatch(found["path"]):
        return True
    library = LIBRARY.match(found["path"])
    name = re.split(r"[/.]", found["path"][library.end() :])[0] if library else ""
    return library is not None and (not package or name != package)
