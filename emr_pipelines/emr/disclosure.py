"""Secrets: refused in what goes where others read it, and left out of what people are told.

EMR shows a step's arguments, and a cluster's configurations and tags, to everybody who may describe the cluster, and a
program's parameters lie on S3. So what is called like a secret is refused there, and so is what this process knows as
one: the values of its environment variables that are called so.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

from emr_pipelines.errors import CannotTravel, InvalidValue

HIDDEN = "***"
SHORTEST_SECRET = 12  # characters; what is shorter may be an ordinary word, and stand in a text by chance
NAMES = r"(?i:secret|passw(?:or)?d|passphrase|token|(?:access|secret|private|api|account)[._-]?key)"
CALLED_SECRET = re.compile(f"{NAMES}$")  # its end, for a password_file or secret_name is none
SHORTEST_REFERENCE = 6  # of one that a setting refers to, which is known to be a secret
HARMLESS = ("", "true", "false")
# What EMR, or the program where it runs, looks up itself.
ARN = r"arn:aws[\w-]*:(?:secretsmanager|ssm):[^\s\"'\\]+"
REFERENCE = re.compile(ARN)
END = r"(?=[\s&;,\"'\\)}\]]|$)"
PLACE = rf"(?:s3|file|secretsmanager|ssm)://[^\s\"'\\]+|/aws/reference/secretsmanager/|(?:/[a-z0-9_.-]+){{2,}}{END}"
# password=$(aws secretsmanager ...), which a shell fills in, a template, a mask, a comparison, and what is no text
NO_SECRET = rf"(?:[$<{{*=`]|{ARN}|{PLACE}|(?i:true|false|null|none){END})"
QUOTE = r"(?:\\*[\"'])"  # with backslashes, within JSON or a shell's word
VALUE = rf"{QUOTE}?(?!{NO_SECRET})(?:[^\s&;,\"'\\]|\\+[^\s\"'\\])"
BLANK = r"(?:[ \t]|\\\r?\n)"  # within a line: on the next one begins something else
# password=..., "password": "..." and password: ..., but not the secret:name of an ARN
ASSIGNED = re.compile(rf"{NAMES}(?:{QUOTE}?{BLANK}*=|{QUOTE}{BLANK}*:|{BLANK}*:(?={BLANK}|{QUOTE})){BLANK}*{VALUE}")
# --password ..., in a line and as a word before another; no option's value begins with a dash
OPTION = rf"(?<![\w.-])--?[\w.-]*{NAMES}"
OPTION_IN_LINE = re.compile(rf"{OPTION}{BLANK}+(?![-|>)#]){VALUE}")
OPTION_WORD = re.compile(OPTION)
NO_SECRET_WORD = re.compile(rf"-|{QUOTE}?(?:{NO_SECRET}|{QUOTE}?\s*$)")
# A password may hold a bare @, and even a / where no host's port (host:80/path@2) can be meant.
SLASHED = r"[^/?#@:\s\[]*:(?!\d+[^\w@]|[/$<{*])(?:(?!://)[^\s\"'<>])+"
IN_URL = re.compile(rf"://(?:[^/\s]+|{SLASHED})@")
PASSWORD_IN_URL = re.compile(rf"://(?:[^/@:\s]*:[^/@\s]+|{SLASHED})@")
SIGNATURE = re.compile(r"((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=)[^&\s\"']+")
INSTEAD = (
    "nothing that is called like a secret, for EMR shows it to whoever may describe the cluster; let the program fetch "
    "it where it runs, by its role"
)
REFER = "a reference to an environment variable: dg.EnvVar('NAME') in Python, {env: NAME} in run config and YAML"
_REFERENCES: dict[str, str] = {}  # secrets that settings of this process refer to, each with its variable


def is_called_secret(name: str) -> bool:
    return bool(CALLED_SECRET.search(name))


def refuse_secrets(name: str, told: object, instead: str = INSTEAD) -> None:
    """Raise InvalidValue, without the value, for a secret that is written out anywhere in a setting: under a key that
    is called like one, as `password=...` or `--password ...` in a text or across the texts of a list, or in a URL.

    This is the rule for all settings. A mapping under such a key is no secret: it refers to one.
    """
    if isinstance(told, Mapping):
        for key, value in told.items():
            refuse_secrets(f"{name}.{key}", value, instead)
            if is_called_secret(str(key)) and _is_literal(value):
                raise InvalidValue(f"{name}.{key}", HIDDEN, instead)
        return
    members = list(told) if isinstance(told, (list, tuple)) else [told]
    words = [member if isinstance(member, str) else "" for member in members]
    for word, following in pairwise((*words, "")):
        found = any(pattern.search(word) for pattern in (ASSIGNED, OPTION_IN_LINE, PASSWORD_IN_URL))
        if found or (OPTION_WORD.fullmatch(word) and not NO_SECRET_WORD.match(following)):
            raise InvalidValue(name, HIDDEN, instead)
    for number, member in enumerate(members):
        if isinstance(member, (Mapping, list, tuple)):
            refuse_secrets(f"{name}.{number}", member, instead)


def _is_literal(value: object) -> bool:
    if value is None or isinstance(value, (bool, Mapping)):
        return False
    text = str(value).strip()
    return text.lower() not in HARMLESS and not REFERENCE.fullmatch(text)


def without_secrets(values: Any) -> Any:
    """JSON values without the members that are called like a secret: what can be compared, and shown."""
    if isinstance(values, Mapping):
        return {key: without_secrets(value) for key, value in values.items() if not is_called_secret(str(key))}
    return [without_secrets(value) for value in values] if isinstance(values, (list, tuple)) else values


def refer_to(name: str, variable: str, value: str) -> None:
    """Note that a setting has a secret's value from an environment variable, so that `masked` hides it in all texts and
    `refuse_known` refuses it elsewhere. Raises InvalidValue for one that is too short to be hidden."""
    if len(value) < SHORTEST_REFERENCE:
        allowed = f"a secret of {SHORTEST_REFERENCE} characters or more, as shorter ones cannot be hidden in texts"
        raise InvalidValue(name, {"env": variable}, allowed)
    _REFERENCES[value] = variable


def refuse_known(what: str, values: object, environ: Mapping[str, str] = os.environ) -> None:
    """Raise CannotTravel for JSON values in which the value of an environment variable stands that is called like a
    secret and has SHORTEST_SECRET characters or more."""
    text = json.dumps(values, default=str)
    for name, secret in known_secrets(environ):
        if any(json.dumps(form)[1:-1] in text for form in _forms(secret)):
            raise CannotTravel(
                f"{masked(what, environ)} would hold the value of the environment variable {name}, where others can "
                "read it. Let the program fetch it where it runs, by its role, and give it the secret's name."
            )


def known_secrets(environ: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """Secrets with the names of their environment variables: those that are called like one, and those that a setting
    refers to as one."""
    for name, value in sorted(environ.items()):
        if is_called_secret(name) and len(value) >= SHORTEST_SECRET and value not in _REFERENCES:
            yield name, value
    for value, variable in list(_REFERENCES.items()):
        yield variable, value


def masked(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """A text for people, without the passwords of URLs, what signs a URL, and the secrets that this process knows."""
    forms = {form for _, secret in known_secrets(environ) for form in _forms(secret)}
    parts, shown_from = [], 0
    for begin, end in _stretches(text, forms):
        parts += [text[shown_from:begin], HIDDEN]
        shown_from = end
    known = "".join((*parts, text[shown_from:]))
    return SIGNATURE.sub(rf"\1{HIDDEN}", IN_URL.sub(f"://{HIDDEN}@", known))


def _stretches(text: str, forms: Iterable[str]) -> list[tuple[int, int]]:
    """Where any of these stand; as one stretch where they overlap or adjoin, so that the rest of neither is shown."""
    stretches: list[tuple[int, int]] = []
    found = (
        (match.start(), match.start() + len(form))
        for form in forms
        if form in text
        for match in re.finditer(f"(?={re.escape(form)})", text)
    )
    for begin, end in sorted(found):
        adjoins = stretches and begin <= stretches[-1][1]
        first, last = stretches.pop() if adjoins else (begin, end)
        stretches.append((first, max(end, last)))
    return stretches


@lru_cache  # a process knows few secrets, and a key has thousands of characters
def _forms(secret: str) -> frozenset[str]:
    """A secret as it stands in a text, and in one that was written as a repr, JSON or part of a URL, up to twice."""
    once = {write(secret) for write in WRITERS}
    return frozenset(write(form) for form in once for write in WRITERS)


def _lower_hex(quoted: str) -> str:
    return re.sub("%..", lambda code: code[0].lower(), quoted)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # as os.environ has bytes that are no UTF-8


# A repr escapes single quotes only where there are double quotes too: both ways are written.
WRITERS: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(f"\"'{text}")[4:-1],
    lambda text: "".join(repr(character)[1:-1] for character in text),
    lambda text: ascii(f"\"'{text}")[4:-1],
    lambda text: "".join(ascii(character)[1:-1] for character in text),
    lambda text: repr(b"\"'" + _bytes(text))[5:-1],
    lambda text: "".join(repr(bytes([byte]))[2:-1] for byte in _bytes(text)),
    lambda text: quote(_bytes(text)),
    lambda text: quote(_bytes(text), safe=""),
    lambda text: quote_plus(_bytes(text)),
    lambda text: _lower_hex(quote(_bytes(text))),
    lambda text: _lower_hex(quote(_bytes(text), safe="")),
    lambda text: _lower_hex(quote_plus(_bytes(text))),
)
