"""Divide text files into tasks of about equal work; `reading.py` reads them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from emr_pipelines.errors import InvalidValue
from emr_pipelines.remote.files import S3_SCHEMES, TextFile, locate

REQUIREMENTS = ("pyarrow>=17,<27", "numpy>=2,<3")  # libraries that a cluster needs

SPLIT_BYTES = 8 << 20  # fixed, so that the splits, and digests over them, do not depend on the number of cores
TASK_BYTES = 256 << 20  # a few seconds of work, the most that a lost executor loses
OPEN_COST_BYTES = 256 << 10  # the cost of opening a file, in bytes (cf. Spark's openCostInBytes)
COMPRESSED_COST = 4  # text shrinks about four times under gzip and bzip2


@dataclass(frozen=True)
class Split:
    """The lines of one file that begin in the bytes [start, end); a compressed file is always one split."""

    file: TextFile
    start: int
    end: int


def plan_tasks(files: Iterable[TextFile], parallelism: int, split_bytes: int = SPLIT_BYTES) -> list[tuple[Split, ...]]:
    """Deal the files' splits, in order, into tasks of about equal work: `parallelism` tasks, or a multiple of that so
    that none is over TASK_BYTES; fewer when there are fewer splits. Empty files have no split."""
    splits: list[Split] = []
    costs: list[int] = []
    for file in files:
        step = max(file.bytes, 1) if file.compressed else split_bytes
        for start in range(0, file.bytes, step):
            end = min(start + step, file.bytes)
            splits.append(Split(file, start, end))
            costs.append((end - start) * (COMPRESSED_COST if file.compressed else 1) + OPEN_COST_BYTES)
    rounds = -(-sum(costs) // (TASK_BYTES * parallelism))
    share = sum(costs) / (rounds * parallelism or 1)
    behind = itertools.accumulate(costs)
    dealt = zip(splits, costs, behind, strict=True)
    middle_in_task = itertools.groupby(dealt, key=lambda entry: int((entry[2] - entry[1] / 2) / share))
    return [tuple(split for split, _, _ in task) for _, task in middle_in_task]


def reject_sources_in(output: str, files: Iterable[TextFile]) -> None:
    """Raise InvalidValue when one of the files lies in the output folder, where it would be deleted or replaced."""
    scheme, separator, rest = output.partition("://")
    if scheme in S3_SCHEMES:
        folder = f"s3://{rest}"
    elif separator and scheme != "file":
        return  # hdfs://, say, where no source can be
    else:
        folder = locate(output)[1]
    for file in files:
        if file.path.startswith(folder.rstrip("/") + "/"):
            raise InvalidValue("The output", output, f"a folder without sources, such as {file.path}, in it")
