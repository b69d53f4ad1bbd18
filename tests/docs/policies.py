"""The subset of IAM that the template uses: whether statements allow a call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


ROLES = ("ServiceRole", "InstanceRole", "JobRole")


@dataclass(frozen=True)
class Wish:
    """A request: an action on a resource, with its condition keys."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)


def names(deployment: str, prefix: str = "", bucket: str = "my-bucket") -> dict[str, str]:
    """Return the values of the template's references for a deployment's stack."""
    roles = {name: f"arn:aws:iam::{ACCOUNT}:role/{deployment}-{name}" for name in ROLES}
    profile = {"InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/{deployment}-InstanceRole"}
    return {
        "BucketName": bucket, "Prefix": prefix, "Deployment": deployment, "AWS::Partition": "aws",
        "AWS::AccountId": ACCOUNT, "AWS::URLSuffix": "amazonaws.com", "KmsKeyArn": KEY,
        **{f"{name}.Arn": arn for name, arn in {**roles, **profile}.items()},
    }  # fmt: skip


def allowed(statements: Sequence[Mapping[str, Any]], wish: Wish) -> bool:
    """Decide like IAM: something allows it, and nothing denies it. Raises ValueError for elements that are not
    implemented here."""
    matching = [statement for statement in statements if _matches(statement, wish)]
    for statement in statements:
        if statement["Effect"] != "Allow" or set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}:
            raise ValueError(f"A statement that is not understood: {statement}")
    return bool(matching)


def idle(statements: Sequence[Mapping[str, Any]], wishes: Sequence[Wish]) -> list[dict[str, Any]]:
    """What is allowed and not wished: each action on each resource under each value of a condition, on its own."""
    return [part for whole in statements for part in _parts(whole) if not any(_granted(part, wish) for wish in wishes)]


def loose(statements: Sequence[Mapping[str, Any]], wishes: Sequence[Wish]) -> list[Wish]:
    """What is allowed to the wishes though one of their circumstances is another: where a condition is missing."""
    others = [
        Wish(wish.action, wish.resource, {**wish.context, key: "another"}) for wish in wishes for key in wish.context
    ]
    return [wish for wish in others if allowed(statements, wish)]


def reached(statements: Sequence[Mapping[str, Any]], bucket: str) -> set[str]:
    """The resources, and the keys of the bucket that can be listed, as resources."""
    listed = {
        f"{bucket}/{prefix}"
        for statement in statements
        for prefix in statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", [])
    }
    return listed | {resource for statement in statements for resource in statement["Resource"]}


def _parts(statement: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    tested = [
        (operator, key, value if isinstance(value, list) else [value])
        for operator, keys in statement.get("Condition", {}).items()
        for key, value in keys.items()
    ]
    for action, resource, *values in product(
        statement["Action"], statement["Resource"], *(values for _, _, values in tested)
    ):
        condition: dict[str, dict[str, str]] = {}
        for (operator, key, _), value in zip(tested, values, strict=True):
            condition.setdefault(operator, {})[key] = value
        yield {**statement, "Action": [action], "Resource": [resource], "Condition": condition}


def _granted(part: Mapping[str, Any], wish: Wish) -> bool:
    return part["Action"] == [wish.action] and allowed([part], wish)  # an action by name: a wildcard is wished by none


def _matches(statement: Mapping[str, Any], wish: Wish) -> bool:
    return (
        _like(statement["Action"], wish.action, re.IGNORECASE)
        and _like(statement["Resource"], wish.resource)
        and all(
            _holds(operator, wish.context.get(key), value if isinstance(value, list) else [value])
            for operator, tested in statement.get("Condition", {}).items()
            for key, value in tested.items()
        )
    )


def _holds(operator: str, found: str | None, wanted: list[str]) -> bool:
    plain = operator.removesuffix("IfExists")
    if found is None:
        return plain != operator
    if plain == "StringEquals":
        return found in wanted
    if plain == "StringLike":
        return _like(wanted, found)
    raise ValueError(f"A condition that is not understood: {operator}")


def _like(patterns: Iterable[str], text: str, flags: int = 0) -> bool:
    """IAM's wildcards: * is any characters, slashes too, and ? is one."""
    made = (re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns)
    return any(re.fullmatch(pattern, text, flags | re.DOTALL) for pattern in made)
