"""Requirements of a program's modules: collected, compared with installed packages, and reported if undeclared."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

import pytest

from emr_pipelines.errors import InvalidValue, RequirementsMissing
from emr_pipelines.job.imports import walk
from emr_pipelines.job.requirements import reject_missing, requirements_of, undeclared
from emr_pipelines.job.source import Certainty
from tests.job.test_artifacts import PROGRAM, write

__all__ = ["write"]
NUMPY = metadata.version("numpy")


def test_requirements_are_those_of_all_modules_that_the_program_imports(write: Any) -> None:
    write({
        "req_shop/__init__.py": "",
        "req_shop/jobs.py": f"from req_shop import models\nREQUIREMENTS = ('numpy>=2', 'polars')\n{PROGRAM}",
        "req_shop/models.py": "REQUIREMENTS = ['polars', 'torch==2.1']\ndef f():\n    import req_shop.late\n",
        "req_shop/late.py": "REQUIREMENTS = ('lightgbm',)\nraise SystemExit\n",
        "req_shop/other.py": f"REQUIREMENTS = ('torch==1',)\n{PROGRAM}",
        "req_none.py": PROGRAM,
        "req_computed.py": f"REQUIREMENTS = tuple(name for name in ['click'])\n{PROGRAM}",
    })  # fmt: skip
    import_module("req_shop.other")  # loaded, but not imported by this program
    found = requirements_of(import_module("req_shop.jobs").run)
    assert found == ("numpy>=2", "polars", "torch==2.1", "lightgbm")
    assert requirements_of(import_module("req_none").run) == ()
    assert requirements_of(import_module("req_computed").run) == ("click",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("REQUIREMENTS = 'numpy'", "REQUIREMENTS of req_wrong is 'numpy'; allowed: a tuple"),
        ("REQUIREMENTS = (1,)", r"REQUIREMENTS of req_wrong is \(1,\); allowed: a tuple"),
        ("import req_helper", r"REQUIREMENTS of req_helper is 'numpy'; allowed: a tuple"),
        ("def f():\n    import req_late", r"REQUIREMENTS of .*req_late\.py is 'computed'; allowed: a tuple of names"),
    ],
)
def test_requirements_that_are_none(write: Any, text: str, said: str) -> None:
    write({
        "req_wrong.py": f"{text}\n{PROGRAM}",
        "req_helper.py": "REQUIREMENTS = 'numpy'\n",
        "req_late.py": "REQUIREMENTS = tuple(str(x) for x in ())\n",
    })  # fmt: skip
    with pytest.raises(InvalidValue, match=said):
        requirements_of(import_module("req_wrong").run)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ("no-such-library>=1",),
            r"req_here requires no-such-library>=1 \(not installed\)\. Run: pip install 'no-such-lib",
        ),
        (("numpy<1",), rf"req_here requires numpy<1 \({NUMPY} is installed\)\. Run: pip install 'numpy<1'$"),
        (("No.Such_Library[x]", "numpy>=99"), r"Run: pip install 'no-such-library\[x\]' 'numpy>=99'$"),
        (("no-such-library; python_version > '3'",), "Run: pip install no-such-library$"),
    ],
)
def test_a_requirement_that_is_missing_here_is_said_with_the_command(write: Any, lines: Any, said: str) -> None:
    write({"req_here.py": f"REQUIREMENTS = {lines!r}\n{PROGRAM}"})
    with pytest.raises(RequirementsMissing, match=said):
        reject_missing(import_module("req_here").run)


def test_requirements_that_are_here_are_fine(write: Any) -> None:
    lines = ("numpy>=1", "pyspark==1", "no-such-library; python_version < '3'", "click")
    write({"req_fine.py": f"REQUIREMENTS = {lines!r}\n{PROGRAM}"})
    reject_missing(import_module("req_fine").run)


@pytest.mark.parametrize(
    ("text", "lines", "said"),
    [
        ("import yaml, json", (), ["line 1, imports yaml of the project pyyaml, which no REQUIREMENTS name"]),
        ("def f():\n    import click.testing", (), ["line 2, imports click of the project click, which no"]),
        ("import yaml", ("PyYAML>=6",), []),
        ("import numpy", ("pyarrow", "dagster-pyspark"), ["imports numpy of the project numpy"]),
        ("import markupsafe", ("jinja2>=3",), []),  # jinja2 brings it
        ("try:\n    import yaml\nexcept ImportError:\n    yaml = None", (), []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import yaml", (), []),
        ("def f():\n    import not_here", (), ["imports not_here, which is not on this machine, and which no"]),
        ("def f():\n    import not_here", ("project-that-brings-it",), []),
        ("import pyspark, py4j, dagster_pipes", (), []),
    ],
)
def test_libraries_that_no_requirement_brings_are_told(write: Any, text: str, lines: Any, said: list[str]) -> None:
    write({"req_undeclared.py": f"{text}\n{PROGRAM}"})
    found = undeclared(walk("req_undeclared", Certainty.LATER), lines)
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True)), found
