"""Settings of EmrSparkRunner: run config has ClusterSpec's fields, and Python gets one sentence."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap

from emr_pipelines.backends.emr.presets import PRESETS
from emr_pipelines.backends.emr.spec import ClusterSpec, Group
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.emr import EmrSparkRunner
from tests.backends.emr.test_spec import WITH_FLEETS, WITH_GROUPS


@dg.op
def look(spark: EmrSparkRunner) -> None:
    SEEN.append(spark)
    spark.spec()  # as the first program would do


@dg.job(resource_defs={"spark": EmrSparkRunner(bucket="my-bucket")})
def job() -> None:
    look()


SEEN: list[EmrSparkRunner] = []


def configured(**config: Any) -> EmrSparkRunner:
    """Return the runner that an op gets with this run config."""
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
    assert configured().spec() == ClusterSpec()
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
        (
            {"cluster": {"preset": "big"}},
            ["config:cluster:preset not in enum type standard | small | spot | large got big"],
        ),
        (
            {"cluster": {"core": {"market": "SPOT"}}},
            ["config:cluster:core:market not in enum type on_demand | spot got SPOT"],
        ),
        ({"cluster": {"subnets": "subnet-1"}}, ["config:cluster:subnets must be list"]),
    ],
)
def test_run_config_is_refused_before_anything_starts(config: dict[str, Any], words: list[str]) -> None:
    message = refused(**config)
    assert [word for word in words if word not in message] == []


UNKNOWN = [
    ({"cluster": {"corre": {}}}, "A field of cluster is 'corre'; did you mean 'core'? Allowed: preset, release_label,"),
    ({"cluster": {"core": {"type": "m5.xlarge", "count": "many"}}}, "cluster.core.count is 'many'; allowed: a whole"),
    ({"cluster": {"core": {"type": "m5.xlarge", "count": 0}}}, "cluster.core.count is 0; allowed: 1 or more."),
    ({"pool_size": 0}, "pool_size is 0; allowed: greater than or equal to 1."),
    ({"prices": {"m5.xlarge": -1}}, "prices.m5.xlarge is -1"),
]


@pytest.mark.parametrize(("config", "sentence"), UNKNOWN)
def test_run_config_that_dagster_lets_through_fails_the_step_with_one_sentence(
    config: dict[str, Any], sentence: str
) -> None:
    run = job.execute_in_process({"resources": {"spark": {"config": config}}}, raise_on_error=False)
    (failure,) = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert str(failure.user_failure_data.description).startswith(sentence)


def default_run_config(runner: EmrSparkRunner) -> dict[str, Any]:
    """Return the Launchpad's default config."""

    @dg.job(resource_defs={"spark": runner})
    def any_job() -> None:
        look()

    snapshot = any_job.get_job_snapshot()
    schema = snapshot.config_schema_snapshot
    root = schema.get_config_snap(snapshot.mode_def_snaps[0].root_config_key or "")
    found: dict[str, Any] = yaml.safe_load(default_values_yaml_from_type_snap(schema, root))
    spark: dict[str, Any] = found["resources"]["spark"]["config"]
    return spark


def test_cluster_and_preset_are_in_the_launchpads_defaults() -> None:
    assert default_run_config(EmrSparkRunner())["cluster"] == {"preset": "standard"}
    told = default_run_config(EmrSparkRunner(bucket="mine", cluster={"preset": "spot", "tags": {"a": "b"}}))
    assert told["cluster"] == {"preset": "spot", "tags": {"a": "b"}}
    assert told["bucket"] == "mine"
    assert default_run_config(EmrSparkRunner(cluster={"key_name": dg.EnvVar("KEY")}))["cluster"]["key_name"] == {
        "env": "KEY"
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scope": "job"}, "scope is 'job'; allowed: 'run', 'asset' or 'pool'."),
        ({"deploy_mode": "local"}, "deploy_mode is 'local'; allowed: 'client' or 'cluster'."),
        ({"pool_size": 0}, "pool_size is 0; allowed: greater than or equal to 1."),
        ({"spark_config": {"a": 1}}, "spark_config.a is 1; allowed: a valid string."),
        ({"cluster": {"core": {"type": "m5.xlarge", "count": 0}}}, "cluster.core.count is 0; allowed: 1 or more."),
        ({"cluster": {"preset": "big"}}, "cluster.preset is 'big'; allowed: 'standard', 'small', 'spot' or 'large'."),
        (
            {"cluster": {"preset": "Spott"}},
            "cluster.preset is 'Spott'; did you mean 'spot'? Allowed: 'standard', 'small', 'spot' or 'large'.",
        ),
        (
            {"cluster": {"managed_scaling": {"min": 1}}},
            (
                "A field of cluster.managed_scaling is 'min'; did you mean 'minimum'? Allowed: minimum, maximum, "
                "maximum_on_demand, maximum_core, unit."
            ),
        ),
        ({"scope": "runs"}, "scope is 'runs'; did you mean 'run'? Allowed: 'run', 'asset' or 'pool'."),
        ({"cluster": "spot"}, "cluster is 'spot'; allowed: a mapping."),
    ],
)
def test_python_gets_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        EmrSparkRunner(**settings)
    assert str(caught.value) == sentence
