"""Secrets: refused in what goes where others read it, and left out of what people are told.

EMR shows a step's arguments, and a cluster's configurations and tags, to everybody who may describe the cluster, and a
program's parameters lie on S3. So what is called like a secret is refused there, and so is what this process knows as
one: the values of its environment variables that are called so.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping

from emr_pipelines.errors import CannotTravel, InvalidValue

HIDDEN = "***"
SHORTEST_SECRET = 12  # characters; what is shorter may be an ordinary word, and stand in a text by chance
NAMES = r"(?:secret|passw(?:or)?d|passphrase|token|(?:access|secret|private|api|account)[._-]?key)"
CALLED_SECRET = re.compile(f"{NAMES}$", re.IGNORECASE)  # its end, for a password_file or secret_name is none
REFERENCE = re.compile(r"arn:aws[\w-]*:(?:secretsmanager|ssm):\S+")  # which EMR looks up itself
HARMLESS = ("", "true", "false")
# password=..., but not password=$(aws secretsmanager ...), which a shell fills in where it runs
ASSIGNED = re.compile(rf"{NAMES}\s*=\s*(?![\"']?[$<{{*=])[^\s&;,\"']", re.IGNORECASE)
IN_URL = re.compile(r"://[^/@\s]+@")
PASSWORD_IN_URL = re.compile(r"://[^/@:\s]*:[^/@\s]+@")
SIGNATURE = re.compile(r"((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=)[^&\s\"']+")
INSTEAD = (
    "nothing that is called like a secret, for EMR shows it to whoever may describe the cluster; let the program fetch "
    "it where it runs, by its role"
)


def is_called_secret(name: str) -> bool:
    return bool(CALLED_SECRET.search(name))


def refuse_secrets(name: str, settings: Mapping[str, str]) -> None:
    """Raise InvalidValue, without the value, for a setting that is called like a secret, or holds one that is."""
    for key, value in settings.items():
        refuse_secret(f"{name}.{key}", value)
        harmless = value.strip().lower() in HARMLESS or REFERENCE.fullmatch(value.strip())
        if is_called_secret(key) and not harmless:
            raise InvalidValue(f"{name}.{key}", HIDDEN, INSTEAD)


def refuse_secret(name: str, text: str) -> None:
    """Raise InvalidValue, without the text, for one with `password=...` or the like in it, or a URL with a password."""
    if ASSIGNED.search(text) or PASSWORD_IN_URL.search(text):
        raise InvalidValue(name, HIDDEN, INSTEAD)


def refuse_known(what: str, values: object, environ: Mapping[str, str] = os.environ) -> None:
    """Raise CannotTravel for JSON values in which the value of an environment variable stands that is called like a
    secret and has SHORTEST_SECRET characters or more."""
    text = json.dumps(values, default=str)
    for name, secret in known_secrets(environ):
        if json.dumps(secret)[1:-1] in text:
            raise CannotTravel(
                f"{masked(what, environ)} would hold the value of the environment variable {name}, where others can "
                "read it. Let the program fetch it where it runs, by its role, and give it the secret's name."
            )


def known_secrets(environ: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """The environment variables that are called like a secret, by name."""
    for name, value in sorted(environ.items()):
        if is_called_secret(name) and len(value) >= SHORTEST_SECRET:
            yield name, value


def masked(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """A text for people, without the passwords of URLs, what signs a URL, and the secrets that this process knows."""
    for _, secret in known_secrets(environ):
        text = text.replace(secret, HIDDEN)
    return SIGNATURE.sub(rf"\1{HIDDEN}", IN_URL.sub(f"://{HIDDEN}@", text))
