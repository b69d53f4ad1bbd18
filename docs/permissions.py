"""What docs/cloudformation.yaml allows to whom: for the page about it, and for the tests that hold it to the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from docs.tables import code, table

TEMPLATE = Path(__file__).with_name("cloudformation.yaml")
DAGSTER, INSTANCES = "DagsterPolicy", "InstancePolicy"
SHOWN = {  # as the page writes them
    "BucketName": "<bucket>", "Prefix": "<prefix>/", "Deployment": "<deployment>", "AWS::Partition": "aws",
    "AWS::AccountId": "<account>", "AWS::URLSuffix": "amazonaws.com", "ServiceRole": "<service role>",
    "InstanceRole": "<instance role>", "InstanceProfile": "<instance profile>",
}  # fmt: skip
OWN_TAG = {  # conditions, in words
    "StringEquals elasticmapreduce:RequestTag/emr_pipelines:deployment": "the tag that it asks for is its own",
    "StringEquals elasticmapreduce:ResourceTag/emr_pipelines:deployment": "the cluster has its tag",
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


def statements(resource: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The statements of one of the template's policies; actions and resources are lists."""
    document = template()["Resources"][resource]["Properties"]["PolicyDocument"]
    return [
        {**statement, **{key: _listed(statement[key]) for key in ("Action", "Resource")}}
        for statement in resolved(document, names)["Statement"]
    ]


def parts() -> dict[str, Callable[[], str]]:
    return {
        "permissions of the Dagster process": lambda: _permissions(DAGSTER),
        "permissions of the instances": lambda: _permissions(INSTANCES),
    }


def _permissions(resource: str) -> str:
    names = {**SHOWN, **{f"{name}.Arn": SHOWN[name] for name in SHOWN if name.endswith(("Role", "Profile"))}}
    return table(("to", "may", "on", "if"), map(_row, statements(resource, names)))


def _row(statement: Mapping[str, Any]) -> tuple[str, ...]:
    conditions = [
        OWN_TAG.get(f"{operator} {key}") or f"{code(key)} is {code(value)}"
        for operator, tested in statement.get("Condition", {}).items()
        for key, value in tested.items()
    ]
    return (
        re.sub(r"(?<!^)([A-Z])", lambda found: f" {found[1].lower()}", statement["Sid"]),
        ", ".join(map(code, statement["Action"])),
        ", ".join(
            code(re.sub(r"^arn:aws:(s3:::|elasticmapreduce:\*:<account>:)", "", one)) for one in statement["Resource"]
        ),
        "; ".join(conditions),
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
