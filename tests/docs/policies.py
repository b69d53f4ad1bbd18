"""A small part of IAM: whether statements allow a call, as far as the template's statements go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ACCOUNT = "111122223333"


@dataclass(frozen=True)
class Wish:
    """What a caller wants: an action on a resource, and the condition keys that come with the request."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)


def names(deployment: str, prefix: str = "", bucket: str = "my-bucket") -> dict[str, str]:
    """What the template's references are, for a stack of a deployment."""
    roles = {name: f"arn:aws:iam::{ACCOUNT}:role/{deployment}-{name}" for name in ("ServiceRole", "InstanceRole")}
    profile = {"InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/{deployment}-InstanceRole"}
    return {
        "BucketName": bucket, "Prefix": prefix, "Deployment": deployment, "AWS::Partition": "aws",
        "AWS::AccountId": ACCOUNT, "AWS::URLSuffix": "amazonaws.com",
        **{f"{name}.Arn": arn for name, arn in {**roles, **profile}.items()},
    }  # fmt: skip


def allowed(statements: Sequence[Mapping[str, Any]], wish: Wish) -> bool:
    """IAM's decision: something allows it, and nothing denies it. Raises ValueError for what is not known here, so that
    nothing is taken for allowed that only looks so."""
    matching = [statement for statement in statements if _matches(statement, wish)]
    for statement in statements:
        if statement["Effect"] != "Allow" or set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}:
            raise ValueError(f"A statement that is not understood: {statement}")
    return bool(matching)


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
