"""Reads the permissions in docs/cloudformation.yaml, for the security page and for tests that compare them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from docs.tables import code, table

TEMPLATE = Path(__file__).with_name("cloudformation.yaml")
DAGSTER, INSTANCES = ("DagsterPolicy", "DagsterObjectsPolicy"), ("InstancePolicy",)
SERVERLESS = ("DagsterServerlessPolicy",)
SHOWN = {  # as the page writes them
    "BucketName": "<bucket>", "Prefix": "<prefix>/", "Deployment": "<deployment>", "AWS::Partition": "aws",
    "AWS::AccountId": "<account>", "AWS::URLSuffix": "amazonaws.com", "ServiceRole": "<service role>",
    "InstanceRole": "<instance role>", "JobRole": "<job role>", "InstanceProfile": "<instance profile>",
}  # fmt: skip
# the page says once where all keys are
LEFT_OUT = re.compile(
    r"^(arn:aws:(s3:::|elasticmapreduce:\*:<account>:|emr-serverless:\*:<account>:/))?"
    r"(<bucket>/)?(<prefix>/<deployment>/)?"
)
OWN_TAG = {  # conditions, in words
    "StringEquals elasticmapreduce:RequestTag/emr_pipelines:deployment": "the tag that it asks for is its own",
    "StringEquals elasticmapreduce:ResourceTag/emr_pipelines:deployment": "the cluster has its tag",
    "StringEquals aws:RequestTag/emr_pipelines:deployment": "the tag that it asks for is its own",
    "StringEquals aws:ResourceTag/emr_pipelines:deployment": "the application or job run has its tag",
    "StringEqualsIfExists elasticmapreduce:ResourceTag/emr_pipelines:deployment": "the cluster has no other's tag yet",
}


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with CloudFormation's short forms: `!Ref a` is {"Ref": "a"}, `!If [...]` is {"Fn::If": [...]}."""


def _short_form(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        value = str(value).split(".", 1)
    return {"Ref" if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _short_form)


def template() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Loader)  # noqa: S506 (a SafeLoader, with tags)
    return found


def resolved(value: Any, names: Mapping[str, str]) -> Any:
    """A part of the template with its references replaced. names: what each parameter, resource and
    `resource.Attribute` is. Raises KeyError for one that is not in it."""
    if isinstance(value, list):
        return [resolved(part, names) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key == "Ref":
            return names[inner]
        if key == "Fn::GetAtt":
            return names[".".join(inner)]
        if key == "Fn::Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda found: names[found[1]], inner)
    return {key: resolved(inner, names) for key, inner in value.items()}


def statements(policies: Sequence[str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The statements of some of the template's policies; actions and resources are lists."""
    resources = template()["Resources"]
    return [
        {**statement, **{key: _listed(statement[key]) for key in ("Action", "Resource")}}
        for policy in policies
        for statement in resolved(resources[policy]["Properties"]["PolicyDocument"], names)["Statement"]
    ]


def parts() -> dict[str, Callable[[], str]]:
    return {
        "permissions of the Dagster process": lambda: _permissions(DAGSTER),
        "permissions of the Dagster process on EMR Serverless": lambda: _permissions(SERVERLESS),
        "permissions of the instances": lambda: _permissions(INSTANCES),
    }


def _permissions(policies: Sequence[str]) -> str:
    names = {**SHOWN, **{f"{name}.Arn": SHOWN[name] for name in SHOWN if name.endswith(("Role", "Profile"))}}
    return table(("to", "may", "on", "if"), map(_row, statements(policies, names)))


def _row(statement: Mapping[str, Any]) -> tuple[str, ...]:
    conditions = [
        OWN_TAG.get(f"{operator} {key}") or f"{code(key)} is {_short(_listed(value), ' or ')}"
        for operator, tested in statement.get("Condition", {}).items()
        for key, value in tested.items()
    ]
    return (
        re.sub(r"(?<!^)([A-Z])", lambda found: f" {found[1].lower()}", statement["Sid"]),
        _short(statement["Action"]),
        _short(statement["Resource"]),
        "; ".join(conditions),
    )


def _short(texts: Iterable[str], between: str = ", ") -> str:
    return between.join(code(LEFT_OUT.sub("", text)) for text in texts)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
