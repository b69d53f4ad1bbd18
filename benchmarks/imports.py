"""Import times: the code location on top of Dagster, a cluster's driver, and the command line.

Each row is whole processes, in turn: Python alone, Python that imports one thing, and `emr-pipelines --help`. Beside it
stands what it takes beyond the row it is held against (the median of the differences within a turn), and which heavy
packages it loaded that the other did not.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Disagreement, Run, Table, arguments, in_turn, machine, report, serve

MODULE = "benchmarks.imports"
HEAVY = ("pyspark", "dagster_aws", "matplotlib", "boto3", "botocore", "pandas", "pyarrow", "numpy", "moto")

PYTHON, DAGSTER, DEFINITIONS = "python", "import dagster", "import emr_pipelines.definitions"
ENTRYPOINT, PIPES = "import emr_pipelines.remote.driver", "import dagster_aws.pipes"
HELP = "emr-pipelines --help"
BESIDE = {DAGSTER: PYTHON, DEFINITIONS: DAGSTER, PIPES: DAGSTER, ENTRYPOINT: PYTHON, HELP: PYTHON}
LIGHT = (DEFINITIONS, ENTRYPOINT, HELP)  # what has to load none of HEAVY that it is not held against loads


def importing(statement: str) -> tuple[float, Any]:
    """Return the seconds of a Python process with one statement, and the HEAVY packages that it loaded."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    seconds, said = timed([sys.executable, "-c", code])
    return seconds, json.loads(said)


def help_page() -> tuple[float, Any]:
    """Return the seconds of the installed command, and the HEAVY packages that its module loads."""
    _, heavy = importing("import emr_pipelines.cli")
    seconds, said = timed([str(Path(sysconfig.get_path("scripts"), "emr-pipelines")), "--help"])
    if "Usage:" not in said:
        raise Disagreement(f"{HELP} says {said!r}.")
    return seconds, heavy


def timed(command: Sequence[str]) -> tuple[float, str]:
    """Return the seconds of a process, and its output."""
    began = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.monotonic() - began, ended.stdout


CONTENDERS: dict[str, Contender] = {
    PYTHON: partial(importing, "pass"),
    **{name: partial(importing, name) for name in (DAGSTER, DEFINITIONS, PIPES, ENTRYPOINT)},
    HELP: help_page,
}


def loaded(runs: Mapping[str, Sequence[Run]], name: str) -> list[str]:
    """Return the HEAVY packages that a row loads and its reference row does not."""
    known = runs[BESIDE[name]][0].answer if name in BESIDE else []
    return [package for package in runs[name][0].answer if package not in known]


def main() -> None:
    serve(CONTENDERS)
    asked = arguments(__doc__, rounds=7)
    in_turn(MODULE, list(CONTENDERS), 1)  # with cold file caches and without byte code
    runs = in_turn(MODULE, list(CONTENDERS), asked.rounds)
    for name in LIGHT:
        if heavy := loaded(runs, name):
            raise Disagreement(f"{name} loads {', '.join(heavy)}.")

    table = Table(
        f"Imports (heavy: {', '.join(HEAVY)})", ["process", "s", "beyond", "s beyond it", "heavy ones besides"]
    )
    for name in CONTENDERS:
        seconds = [run.seconds for run in runs[name]]
        row = [name, f"{statistics.median(seconds):.3f}", "", ""]
        if name in BESIDE:
            others = [run.seconds for run in runs[BESIDE[name]]]
            beyond = statistics.median(one - other for one, other in zip(seconds, others, strict=True))
            row[2:] = [BESIDE[name], f"{beyond:.3f}"]
        table.rows.append([*row, ", ".join(loaded(runs, name)) or "none"])
    report(asked, machine("dagster", "dagster-aws"), [table], runs)


if __name__ == "__main__":
    main()
