"""Environment variables in a runner's settings are resolved when a run needs them, not before."""

from __future__ import annotations

import os
from typing import Any, cast

import dagster as dg
import pytest
import yaml

from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.runners.variables import looked_up
from emr_pipelines.storage import Storage
from tests.runners.test_cluster_forms import PYTHON, at, request_of, within_a_run

NAME = "MY_VARIABLE"
VAR = dg.EnvVar(NAME)
FLEET = "Instances.InstanceFleets.0"

# the setting in Python and in YAML, its path in the request, the variable's value, and the value in the request
PLACES: list[tuple[dict[str, Any], str, str, str, Any]] = [
    ({"configurations": [{"Classification": "spark-defaults", "Properties": {"spark.executor.memory": VAR}}]},
     "{configurations: [{Classification: spark-defaults, Properties: {spark.executor.memory: {env: MY_VARIABLE}}}]}",
     "Configurations.0.Properties", "9g", {**PYTHON, "spark.executor.memory": "9g"}),
    ({"configurations": {"spark-defaults": {"spark.executor.memory": VAR}}},
     "{configurations: {spark-defaults: {spark.executor.memory: {env: MY_VARIABLE}}}}",
     "Configurations.0.Properties", "9g", {**PYTHON, "spark.executor.memory": "9g"}),
    ({"configurations": {"spark-env": {"export": {"A": VAR}}}},
     "{configurations: {spark-env: {export: {A: {env: MY_VARIABLE}}}}}",
     "Configurations.1.Configurations.0.Properties", "x", {"A": "x"}),
    ({"configurations": {"spark-env": {"export": {"env": "MY_VARIABLE"}}}},
     "{configurations: {spark-env: {export: {env: MY_VARIABLE}}}}",
     "Configurations.1.Configurations.0.Properties", "x", {"env": "MY_VARIABLE"}),
    ({"configurations": [{"classification": "spark-env", "configurations": {"export": {"env": VAR}}}]},
     "{configurations: [{classification: spark-env, configurations: {export: {env: {env: MY_VARIABLE}}}}]}",
     "Configurations.1.Configurations.0.Properties", "x", {"env": "x"}),
    ({"key_name": VAR}, "{key_name: {env: MY_VARIABLE}}", "Instances.Ec2KeyName", "pair", "pair"),
    ({"release_label": VAR}, "{release_label: {env: MY_VARIABLE}}", "ReleaseLabel", "emr-7.14.0", "emr-7.14.0"),
    ({"subnets": [VAR]}, "{subnets: [{env: MY_VARIABLE}]}", "Instances.Ec2SubnetId", "subnet-1", "subnet-1"),
    ({"subnets": (VAR,)}, "{subnets: [{env: MY_VARIABLE}]}", "Instances.Ec2SubnetId", "subnet-1", "subnet-1"),
    ({"core": {"type": "m5.xlarge", "count": dg.EnvVar.int(NAME)}},
     "{core: {type: m5.xlarge, count: {env: MY_VARIABLE}}}", "Instances.InstanceGroups.1.InstanceCount", "4", 4),
    ({"core": {"type": VAR, "count": 3}}, "{core: {type: {env: MY_VARIABLE}, count: 3}}",
     "Instances.InstanceGroups.1.InstanceType", "r5.xlarge", "r5.xlarge"),
    ({"core": {"type": "m5.xlarge", "market": "spot", "bid_price_usd": VAR}},
     "{core: {type: m5.xlarge, market: spot, bid_price_usd: {env: MY_VARIABLE}}}",
     "Instances.InstanceGroups.1.BidPrice", "0.25", "0.25"),
    ({"core": {"type": "m5.xlarge", "volumes": [{"size_gib": VAR}]}},
     "{core: {type: m5.xlarge, volumes: [{size_gib: {env: MY_VARIABLE}}]}}",
     "Instances.InstanceGroups.1.EbsConfiguration.EbsBlockDeviceConfigs.0.VolumeSpecification.SizeInGB", "50", 50),
    ({"fleets": {"primary": {"types": [VAR], "on_demand": 1}}},
     "{fleets: {primary: {types: [{env: MY_VARIABLE}], on_demand: 1}}}",
     f"{FLEET}.InstanceTypeConfigs.0.InstanceType", "m5a.xlarge", "m5a.xlarge"),
    ({"bootstrap_actions": [{"name": "a", "path": "s3://b/a.sh", "args": ["x", VAR]}]},
     "{bootstrap_actions: [{name: a, path: s3://b/a.sh, args: [x, {env: MY_VARIABLE}]}]}",
     "BootstrapActions.0.ScriptBootstrapAction.Args", "y", ["x", "y"]),
    ({"tags": {"env": VAR}}, "{tags: {env: {env: MY_VARIABLE}}}", "Tags", "prod", [{"Key": "env", "Value": "prod"}]),
    ({"extra": {"KerberosAttributes": {"Realm": VAR, "KdcHosts": [VAR]}}},
     "{extra: {KerberosAttributes: {Realm: {env: MY_VARIABLE}, KdcHosts: [{env: MY_VARIABLE}]}}}",
     "KerberosAttributes", "EC2", {"Realm": "EC2", "KdcHosts": ["EC2"]}),
    ({"preset": "small", "key_name": VAR}, "{preset: small, key_name: {env: MY_VARIABLE}}",
     "Instances.Ec2KeyName", "pair", "pair"),
]  # fmt: skip
EACH = [
    pytest.param(*place, id=place[1][:60], marks=() if number == 0 else pytest.mark.extended)
    for number, place in enumerate(PLACES)
]


@pytest.fixture(autouse=True)
def not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)


@pytest.mark.parametrize(("python", "text", "path", "value", "expected"), EACH)
def test_at_any_depth(
    monkeypatch: pytest.MonkeyPatch, python: dict[str, Any], text: str, path: str, value: str, expected: Any
) -> None:
    by_yaml = yaml.safe_load(text)
    runner = EmrSparkRunner(bucket="b-b", cluster=python)  # where the variable is not set
    shown = runner.get_resource_definition().config_schema.as_field().default_value["cluster"]
    assert shown in ({"preset": "standard", **by_yaml}, by_yaml)
    monkeypatch.setenv(NAME, value)
    for spec in (
        runner.spec(),
        within_a_run(runner, {}),
        within_a_run(runner, {"retries": 1}),
        within_a_run(EmrSparkRunner(bucket="b-b"), {"cluster": by_yaml}),
    ):
        assert at(request_of(spec), path) == expected


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"key_name": VAR}, "key_name"),
        ({"configurations": {"a": {"b": VAR}}}, "configurations.a.b"),
        ({"extra": {"A": [VAR]}}, "extra.A.0"),
    ],
)
def test_one_that_is_not_set_is_named_with_its_field(told: dict[str, Any], field: str) -> None:
    runner = EmrSparkRunner(cluster=told)
    with pytest.raises(InvalidValue) as caught:
        runner.spec()
    assert str(caught.value) == (
        f"cluster.{field} is {{'env': 'MY_VARIABLE'}}; allowed: a variable that is set in the run's environment, and "
        "MY_VARIABLE is not."
    )


@pytest.mark.parametrize(
    ("told", "value", "sentence"),
    [
        ({"core": {"type": "m5.xlarge", "count": VAR}}, "many",
         "cluster.core.count is {'env': 'MY_VARIABLE'}; allowed: a whole number."),
        ({"core": {"type": VAR}}, "wrong-type",
         "cluster.core.type is {'env': 'MY_VARIABLE'}; allowed: family.size, for instance m5.xlarge."),
        ({"configurations": {"a": {"b": VAR}, "c": {"my.password": VAR}}}, "hunter2-hunter2",
         "cluster.configurations[1].properties.my.password is '***'; allowed: no secrets, because EMR shows"),
        ({"subnets": ["subnet-1", VAR]}, "subnet-9876", "cluster.subnets is '***'; allowed: one, or several with"),
    ],
)  # fmt: skip
def test_a_value_is_judged_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], value: str, sentence: str
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(InvalidValue) as caught:
        EmrSparkRunner(cluster=told).spec()
    assert str(caught.value).startswith(sentence)
    assert value not in str(caught.value)


CHOICE = "allowed: 'standard', 'small', 'spot' or 'large'."


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cluster": {"preset": VAR}}, f"cluster.preset is {{'env': 'MY_VARIABLE'}}; {CHOICE}"),
        ({"cluster": {"core": {"type": VAR, "market": VAR}}},
         "cluster.core.market is {'env': 'MY_VARIABLE'}; allowed: 'on_demand' or 'spot'."),
        ({"cluster": {"extra": {"Steps": VAR}}}, "cluster.extra.Steps is {'env': 'MY_VARIABLE'}; allowed: nothing"),
        ({"cluster": VAR}, "cluster is {'env': 'MY_VARIABLE'}; allowed: a mapping."),
        ({"cluster": {"corre": {"type": VAR}}}, "A field of cluster is 'corre'; did you mean 'core'? Allowed: preset"),
        ({"cluster": {"key_name": VAR, "step_concurrency": 0}}, "cluster.step_concurrency is 0; allowed: 1 or more."),
        ({"cluster": {"extra": {"EbsRootVolumeIops": dg.EnvVar.int(NAME)}}},
         "cluster.extra.EbsRootVolumeIops is {'env': 'MY_VARIABLE'}; allowed: EnvVar, for a text, or a number"),
        ({"scope": VAR}, "scope is {'env': 'MY_VARIABLE'}; allowed: a value: Dagster looks up variables only for"),
        ({"running_minutes": VAR}, "running_minutes is {'env': 'MY_VARIABLE'}; allowed: a value: Dagster looks up"),
        ({"prices": {"m5.xlarge": VAR}}, "prices.m5.xlarge is {'env': 'MY_VARIABLE'}; allowed: a value: Dagster"),
        ({"jars": VAR}, "jars is {'env': 'MY_VARIABLE'}; allowed: a value: Dagster looks up variables only for"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_up_is_refused_when_it_is_told(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        EmrSparkRunner(**settings)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("resource", "name", "value", "expected"),
    [
        (EmrSparkRunner(bucket=VAR), "bucket", "b-b", "b-b"),
        (EmrSparkRunner(queue=VAR), "queue", "q", "q"),
        (EmrSparkRunner(spark_config={"spark.executor.memory": VAR}), "spark_config", "9g",
         {"spark.executor.memory": "9g"}),
        (EmrSparkRunner(jars=["s3://b/a.jar", VAR]), "jars", "s3://b/b.jar", ["s3://b/a.jar", "s3://b/b.jar"]),
        (EmrSparkRunner(files=[VAR]), "files", "s3://b/c", ["s3://b/c"]),
        (EmrSparkRunner(pool_size=dg.EnvVar.int(NAME)), "pool_size", "3", 3),
        (EmrSparkRunner(ship_dependencies=cast("bool", VAR)), "ship_dependencies", "false", False),
        (LocalSparkRunner(spark_config={"spark.driver.memory": VAR}), "spark_config", "2g",
         {"spark.driver.memory": "2g"}),
        (LocalSparkRunner(master=VAR), "master", "local[2]", "local[2]"),
        (Storage(uri=VAR), "uri", "s3://b-b/data", "s3://b-b/data"),
        (Storage(keep_versions=dg.EnvVar.int(NAME)), "keep_versions", "2", 2),
    ],
)  # fmt: skip
def test_dagster_looks_up_the_settings_that_it_can(
    monkeypatch: pytest.MonkeyPatch, resource: Any, name: str, value: str, expected: Any
) -> None:
    monkeypatch.setenv(NAME, value)
    with dg.build_resources({"resource": resource}) as resources:
        assert getattr(resources.resource, name) == expected
    monkeypatch.delenv(NAME)
    with (
        pytest.raises(dg.DagsterInvalidConfigError, match=rf'{name}[^\n]* failed:\n[^\n]*"{NAME}" which is not set'),
        dg.build_resources({"resource": resource}),
    ):
        pass


@pytest.mark.parametrize(
    "told",
    [
        {"tags": {"env": "prod"}},
        {"configurations": {"my-site": {"env": "prod"}}},
        {"configurations": [{"Classification": "my-site", "Properties": {"env": "prod"}}]},
        {"configurations": [{"classification": "my-env", "configurations": {"export": {"env": "prod"}}}]},
    ],
)
def test_a_key_that_is_called_env_is_a_key_where_keys_are_the_users_own(told: dict[str, Any]) -> None:
    assert looked_up(told, "cluster", {}) == (told, {})


def test_a_word_of_the_environment_in_capitals_changes_nothing_that_was_told() -> None:
    told = {"configurations": {"spark-defaults": {"spark.executor.memory": VAR}}}
    EmrSparkRunner(cluster=told).get_resource_definition()
    assert told == {"configurations": {"spark-defaults": {"spark.executor.memory": VAR}}}
    assert NAME not in os.environ
