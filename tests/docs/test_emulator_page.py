"""Run the examples of the emulator's page."""

import re
from pathlib import Path

import yaml

from emr_emulator.faults import KINDS, read_faults


def test_the_manuals_example() -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    (example,) = re.findall(r"```python\n(import boto3\n.*?)```", page, re.DOTALL)
    exec(compile(example, "emulator.md", "exec"), {})  # noqa: S102 (it asserts)


def test_the_manuals_faults() -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    (example,) = re.findall(r"```yaml\n(- \{fault.*?)```", page, re.DOTALL)
    kinds = {fault.model_dump()["fault"] for fault in read_faults(yaml.safe_load(example))}
    assert kinds == set(KINDS)
