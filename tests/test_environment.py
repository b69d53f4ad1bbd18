"""Environment variables: each has one reader, and unknown ones are reported."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from docs import settings
from emr_pipelines import environment
from emr_pipelines.automation.orphans import OrphanSettings
from emr_pipelines.environment import target, unknown
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.target import RUNNERS, configured_runner
from emr_pipelines.storage.address import resolve


@pytest.mark.parametrize(
    ("told", "means"),
    [("", "local"), (" ", "local"), ("local", "local"), ("Local", "local"), ("emr", "emr"), (" EMR ", "emr")],
)
def test_the_target_may_be_in_any_case(told: str, means: str) -> None:
    assert target({"EMR_PIPELINES_TARGET": told}) == means


def test_a_target_in_capitals_is_the_same_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "EMR")
    monkeypatch.setenv("EMR_PIPELINES_BUCKET", "mine")
    assert isinstance(configured_runner(), EmrSparkRunner)
    assert resolve("") == "s3://mine/default/data"
    assert OrphanSettings.read().deployment == "default"


def test_nothing_else_reads_the_target() -> None:
    """Separate readers could differ about capital letters."""
    package = Path(environment.__file__).parent
    texts = {path.name: path.read_text() for path in package.rglob("*.py") if "emulator" not in path.parts}
    readers = [name for name, text in texts.items() if '"EMR_PIPELINES_TARGET"' in text]
    assert readers == ["environment.py"]


def test_there_is_a_runner_for_each_target() -> None:
    assert tuple(RUNNERS) == environment.TARGETS


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EMR_PIPELINES_TARGT", "EMR_PIPELINES_TARGET"),
        ("EMR_PIPELINES_BUKET", "EMR_PIPELINES_BUCKET"),
        ("EMR_PIPELINES_DAILY_BUDGET", "EMR_PIPELINES_DAILY_BUDGET_USD"),
        ("emr_pipelines_storage", "EMR_PIPELINES_STORAGE"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_known(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    sentence = f"The environment variable {name} is unknown and has no effect; the nearest known is {meant}."
    assert unknown({name: "x", "PATH": "/bin", meant: "y"}) == [sentence]
    monkeypatch.setenv(name, "x")
    with pytest.warns(UserWarning, match="is unknown and has no effect") as caught:
        configured_runner()
    assert [str(warning.message) for warning in caught] == [sentence]


def test_known_variables_are_not_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.VARIABLES:
        assert unknown({name: "x"}) == []
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "local")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configured_runner()


def test_all_known_variables_are_in_the_manual() -> None:
    assert settings.VARIABLES.keys() == environment.VARIABLES.keys()
    assert settings.DEFAULTS.keys() <= environment.VARIABLES.keys()


@pytest.mark.parametrize("told", ["-1", "inf", "nan", "1e999", "ten", "1,5"])
def test_numbers_are_numbers(told: str) -> None:
    with pytest.raises(InvalidValue, match="allowed: a number"):
        environment.daily_budget_usd({"EMR_PIPELINES_DAILY_BUDGET_USD": told})
    with pytest.raises(InvalidValue, match="allowed: a number of hours above 0"):
        environment.orphan_max_age_hours({"EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS": told})


def test_numbers_that_are_not_told_have_defaults() -> None:
    assert environment.daily_budget_usd({}) is None
    assert environment.daily_budget_usd({"EMR_PIPELINES_DAILY_BUDGET_USD": " 0 "}) == 0
    assert (environment.most_idle_share({}), environment.orphan_max_age_hours({})) == (0.5, 48)
    assert not environment.orphan_dry_run({})
    assert environment.orphan_dry_run({"EMR_PIPELINES_ORPHAN_DRY_RUN": "TRUE"})
