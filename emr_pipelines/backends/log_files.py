"""Read the ends of logs on S3.

A log that cannot be read is left out without an error, so that it never hides the original failure.
"""

from __future__ import annotations

import posixpath
import re
import zlib
from collections.abc import Iterable

from emr_pipelines.aws.objects import ObjectEntry, Objects
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.errors import AwsError

KEPT_BYTES = 1024 * 1024  # of a log's end
KEPT_LINES = 5000
CHUNK_BYTES = 64 * 1024
MAX_COMPRESSED_BYTES = 32 * 1024 * 1024  # gzip can only be read from its beginning
MAX_OF_A_NAME = 2  # rotated logs: the newest ones


def read_newest(objects: Objects, entries: Iterable[ObjectEntry]) -> tuple[Log, ...]:
    """Return the newest logs of each name: controller, stdout, stderr; oldest first."""
    newest: list[ObjectEntry] = []
    for entry in sorted(entries, key=lambda entry: (entry.modified, entry.uri), reverse=True):
        same = [one for one in newest if log_name(one) == log_name(entry)]
        if log_name(entry) in ("controller", "stdout", "stderr") and len(same) < MAX_OF_A_NAME:
            newest.insert(0, entry)
    return tuple(log for entry in newest if (log := _read(objects, entry)))


def _read(objects: Objects, entry: ObjectEntry) -> Log | None:
    packed = entry.uri.endswith(".gz")
    if packed and entry.bytes > MAX_COMPRESSED_BYTES:
        return Log(entry.uri, (f"(This log is not shown: it has {entry.bytes:,} bytes, compressed.)",))
    try:
        data = objects.read(entry.uri, None if packed else KEPT_BYTES) if entry.bytes else b""
    except AwsError:
        return None
    return None if data is None else Log(entry.uri, last_lines(data))


def log_name(entry: ObjectEntry) -> str:
    """Return a log's name without what it is packed or rotated by: stderr for stderr.txt.gz."""
    return re.split(r"\W", posixpath.basename(entry.uri))[0]


def last_lines(data: bytes) -> tuple[str, ...]:
    """Return the last lines of a log, compressed or not; of a damaged one, the last before the damage."""
    end = _unpacked_end(data) if data.startswith(b"\x1f\x8b") else data[-KEPT_BYTES:]
    lines = end.decode("utf-8", errors="replace").removesuffix("\n").split("\n") if end else []
    # what a terminal would show of a line that was written over: the last
    return tuple(line.rstrip("\r").rpartition("\r")[2] for line in lines[-KEPT_LINES:])


def _unpacked_end(data: bytes) -> bytes:
    """Return the end of gzip data, member by member, without holding all of it in memory."""
    end = bytearray()
    while data.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip's header
        rest = data
        try:
            while not member.eof and (chunk := member.decompress(rest, CHUNK_BYTES)):
                end += chunk
                del end[: max(len(end) - KEPT_BYTES, 0)]
                rest = member.unconsumed_tail
        except zlib.error:
            break
        data = member.unused_data
    return bytes(end)
