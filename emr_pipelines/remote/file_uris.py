"""Write and read URIs of files on this machine as Hadoop does: no character in them is percent-encoded."""

from __future__ import annotations

import re
from pathlib import Path

FILE_URI = re.compile(r"file:(/+)(.*)", re.DOTALL)
OF_A_HOST = "//"  # file://host/folder is another machine's


def file_uri(path: str | Path) -> str:
    """Return the URI of an absolute path."""
    return f"file://{path}"


def local_path(location: str) -> str | None:
    """Return the absolute path of a URI such as file:/folder or file:///folder; None for anything else."""
    found = FILE_URI.fullmatch(location)
    return f"/{found[2]}" if found and found[1] != OF_A_HOST else None
