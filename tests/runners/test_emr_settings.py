"""The settings of EmrSparkRunner: run config knows what ClusterSpec knows, and Python gets one sentence."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from emr_pipelines.emr.presets import PRESETS
from emr_pipelines.emr.spec import ClusterSpec, Group
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.emr import EmrSparkRunner
from tests.emr.test_spec import WITH_FLEETS, WITH_GROUPS


@dg.op
def look(spark: EmrSparkRunner) -> None:
    SEEN.append(spark)


@dg.job(resource_defs={"spark": EmrSparkRunner(bucket="b")})
def job() -> None:
    look()


SEEN: list[EmrSparkRunner] = []


def configured(**config: Any) -> EmrSparkRunner:
    """The runner that an op is given for this run config."""
    run_config = {"resources": {"spark": {"config": config}}}
    assert job.execute_in_process(run_config).success
    return SEEN.pop()


def refused(**config: Any) -> str:
    with pytest.raises(dg.DagsterInvalidConfigError) as caught:
        dg.validate_run_config(job, {"resources": {"spark": {"config": config}}})
    (error,) = caught.value.errors
    return error.message


@pytest.mark.parametrize("spec", [ClusterSpec(), ClusterSpec(core=None), WITH_GROUPS, WITH_FLEETS])
@pytest.mark.parametrize("exclude_unset", [False, True])
def test_every_description_can_be_run_config_and_an_argument(spec: ClusterSpec, exclude_unset: bool) -> None:
    told = spec.model_dump(mode="json", exclude_unset=exclude_unset)
    assert configured(cluster=told).spec() == spec
    assert EmrSparkRunner(cluster=told).spec() == spec
    assert EmrSparkRunner(cluster=spec).spec() == spec


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_run_config_and_an_argument(preset: Any) -> None:
    told = {"preset": preset, "idle_timeout_seconds": 120}
    expected = ClusterSpec(preset=preset, idle_timeout_seconds=120)
    assert configured(cluster=told).spec() == expected
    assert EmrSparkRunner(cluster=told).spec() == expected


def test_what_is_not_told_has_the_default_that_roles_of_the_environment_go_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert configured().cluster == {}
    monkeypatch.setenv("EMR_PIPELINES_SERVICE_ROLE", "theirs")
    assert configured(cluster={"core": {"type": "m5.large"}}).spec() == ClusterSpec(
        core=Group(type="m5.large"), service_role="theirs"
    )
    assert configured(cluster={"service_role": "ours"}).spec().service_role == "ours"


def test_null_and_variables_of_the_environment_can_be_said_in_run_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY_PAIR", "pair")
    spec = configured(cluster={"core": None, "key_name": {"env": "MY_KEY_PAIR"}}).spec()
    assert (spec.core, spec.key_name) == (None, "pair")


def test_python_may_write_tuples_and_parts() -> None:
    runner = EmrSparkRunner(cluster={"subnets": ("subnet-1",), "core": Group(type="m5.large", count=4)})
    assert runner.spec() == ClusterSpec(subnets=("subnet-1",), core=Group(type="m5.large", count=4))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"scope": "job"}, ["config:scope not in enum type", "'run', 'asset', 'pool'", "got job"]),
        ({"deploy_mode": "local"}, ["config:deploy_mode not in enum type", "'client', 'cluster'"]),
        ({"cluster": {"preset": "big"}}, ["config:cluster:preset not in enum type", "got big"]),
        ({"cluster": {"cor": {}}}, ['unexpected config entry "cor"', "config:cluster", "core"]),
        ({"cluster": {"core": {"count": "many"}}}, ["config:cluster:core:count", "many"]),
        ({"cluster": {"core": {"market": "SPOT"}}}, ["config:cluster:core:market not in enum type", "got SPOT"]),
    ],
)
def test_run_config_is_refused_before_anything_starts(config: dict[str, Any], words: list[str]) -> None:
    message = refused(**config)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scope": "job"}, "scope is 'job'; allowed: 'run', 'asset' or 'pool'."),
        ({"deploy_mode": "local"}, "deploy_mode is 'local'; allowed: 'client' or 'cluster'."),
        ({"pool_size": 0}, "pool_size is 0; allowed: greater than or equal to 1."),
        ({"spark_config": {"a": 1}}, "spark_config.a is 1; allowed: a valid string."),
        ({"cluster": {"core": {"type": "m5.xlarge", "count": 0}}}, "cluster.core.count is 0; allowed: 1 or more."),
        ({"cluster": {"preset": "big"}}, "cluster.preset is 'big'; allowed: 'small', 'spot' or 'large'."),
        ({"cluster": "spot"}, "cluster is 'spot'; allowed: a mapping."),
    ],
)
def test_python_gets_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        EmrSparkRunner(**settings)
    assert str(caught.value) == sentence
