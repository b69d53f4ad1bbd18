"""Keeps secrets out of places that others can read, and masks them in messages.

EMR shows a step's arguments, and a cluster's configurations and tags, to everyone who may describe the cluster, and a
program's parameters are stored on S3. Values whose names look like secrets ("password", "token") are refused there.
So are the values of environment variables of this process with such names.
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

from emr_pipelines.errors import InvalidValue, PackagingError

HIDDEN = "***"
SHORTEST_SECRET = 12  # characters; a shorter one may be an ordinary word that occurs in a text by chance
NAMES = r"(?i:secret|passw(?:or)?d|passphrase|token|(?:access|secret|private|api|account)[._-]?key)"
CALLED_SECRET = re.compile(f"{NAMES}$")  # at the end of the name: a password_file or secret_name is no secret
SHORTEST_REFERENCE = 6  # characters of a value that a setting refers to, and that is therefore known to be a secret
HARMLESS = ("", "true", "false")
# a reference that EMR, or the program on the cluster, resolves itself
ARN = r"arn:aws[\w-]*:(?:secretsmanager|ssm):[^\s\"'\\]+"
REFERENCE = re.compile(ARN)
END = r"(?=[\s&;,\"'\\)}\]]|$)"
PLACE = rf"(?:s3|file|secretsmanager|ssm)://[^\s\"'\\]+|/aws/reference/secretsmanager/|(?:/[a-z0-9_.-]+){{2,}}{END}"
# what is no secret: $(aws secretsmanager ...), a template, a mask, a comparison, and values that are not text
NO_SECRET = rf"(?:[$<{{*=`]|{ARN}|{PLACE}|(?i:true|false|null|none){END})"
QUOTE = r"(?:\\*[\"'])"  # with backslashes inside JSON or a shell word
VALUE = rf"{QUOTE}?(?!{NO_SECRET})(?:[^\s&;,\"'\\]|\\+[^\s\"'\\])"
BLANK = r"(?:[ \t]|\\\r?\n)"  # within one line: the next line starts something else
# password=..., "password": "..." and password: ..., but not the secret:name of an ARN
ASSIGNED = re.compile(rf"{NAMES}(?:{QUOTE}?{BLANK}*=|{QUOTE}{BLANK}*:|{BLANK}*:(?={BLANK}|{QUOTE})){BLANK}*{VALUE}")
# --password ..., within a line or as a separate word; a value does not begin with a dash
OPTION = rf"(?<![\w.-])--?[\w.-]*{NAMES}"
OPTION_IN_LINE = re.compile(rf"{OPTION}{BLANK}+(?![-|>)#]){VALUE}")
OPTION_WORD = re.compile(OPTION)
NO_SECRET_WORD = re.compile(rf"-|{QUOTE}?(?:{NO_SECRET}|{QUOTE}?\s*$)")
# A password may contain a bare @, and even a / where it cannot be a port (host:80/path@2).
SLASHED = r"[^/?#@:\s\[]*:(?!\d+[^\w@]|[/$<{*])(?:(?!://)[^\s\"'<>])+"
IN_URL = re.compile(rf"://(?:[^/\s]+|{SLASHED})@")
PASSWORD_IN_URL = re.compile(rf"://(?:[^/@:\s]*:[^/@\s]+|{SLASHED})@")
SIGNATURE = re.compile(r"((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=)[^&\s\"']+")
INSTEAD = (
    "no secrets, because EMR shows this value to everyone who may describe the cluster; have the program fetch the "
    "secret on the cluster with its IAM role"
)
REFER = "a reference to an environment variable: dg.EnvVar('NAME') in Python, {env: NAME} in run config and YAML"
_REFERENCES: dict[str, str] = {}  # secrets that this process's settings refer to, with their variables


def is_called_secret(name: str) -> bool:
    return bool(CALLED_SECRET.search(name))


def reject_secrets(name: str, told: object, instead: str = INSTEAD) -> None:
    """Raise InvalidValue, without the value, for a setting that contains a literal secret.

    A secret is a value under a key that is named like one, `password=...` or `--password ...` in a text (or across the
    texts of a list), or a password in a URL. A mapping under such a key is a reference, not a secret. This rule holds
    for all settings.
    """
    if isinstance(told, Mapping):
        for key, value in told.items():
            reject_secrets(f"{name}.{key}", value, instead)
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
            reject_secrets(f"{name}.{number}", member, instead)


def _is_literal(value: object) -> bool:
    if value is None or isinstance(value, (bool, Mapping)):
        return False
    text = str(value).strip()
    return text.lower() not in HARMLESS and not REFERENCE.fullmatch(text)


def without_secrets(values: Any) -> Any:
    """Return JSON values without the members that are named like a secret, so that they can be compared and shown."""
    if isinstance(values, Mapping):
        return {key: without_secrets(value) for key, value in values.items() if not is_called_secret(str(key))}
    return [without_secrets(value) for value in values] if isinstance(values, (list, tuple)) else values


def refer_to(name: str, variable: str, value: str) -> None:
    """Record that a setting takes a secret from an environment variable.

    `masked` then hides the value in all texts, and `reject_known_secrets` refuses it elsewhere. Raises InvalidValue
    when it is too short to be hidden.
    """
    if len(value) < SHORTEST_REFERENCE:
        allowed = f"a secret of at least {SHORTEST_REFERENCE} characters; shorter ones cannot be masked in messages"
        raise InvalidValue(name, {"env": variable}, allowed)
    _REFERENCES[value] = variable


def reject_known_secrets(what: str, values: object, environ: Mapping[str, str] = os.environ) -> None:
    """Raise PackagingError for JSON values that contain a known secret.

    Known are the values of at least SHORTEST_SECRET characters of environment variables that are named like a secret,
    and those passed to `refer_to`.
    """
    text = json.dumps(values, default=str)
    for name, secret in known_secrets(environ):
        if any(json.dumps(form)[1:-1] in text for form in _forms(secret)):
            raise PackagingError(
                f"{masked(what, environ)} would contain the value of the environment variable {name}, and others can "
                "read it there. Pass the secret's name instead, and have the program fetch it on the cluster with its "
                "IAM role."
            )


def known_secrets(environ: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """Yield (variable, secret) for environment variables named like a secret, and those that a setting refers to."""
    for name, value in sorted(environ.items()):
        if is_called_secret(name) and len(value) >= SHORTEST_SECRET and value not in _REFERENCES:
            yield name, value
    for value, variable in list(_REFERENCES.items()):
        yield variable, value


def masked(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a text without passwords and signatures in URLs, and without the secrets that this process knows."""
    forms = {form for _, secret in known_secrets(environ) for form in _forms(secret)}
    parts, shown_from = [], 0
    for begin, end in _stretches(text, forms):
        parts += [text[shown_from:begin], HIDDEN]
        shown_from = end
    known = "".join((*parts, text[shown_from:]))
    return SIGNATURE.sub(rf"\1{HIDDEN}", IN_URL.sub(f"://{HIDDEN}@", known))


def shown(error: Exception) -> Exception | None:
    """Return the exception to chain, which Dagster prints as the cause; None when its text contains a secret."""
    return error if masked(str(error)) == str(error) else None


def about(request: Mapping[str, Any]) -> str:
    """Return the text parameters of a request in parentheses, for a message."""
    said = [f"{name} {value!r}" for name, value in request.items() if isinstance(value, str) and name != "IfNoneMatch"]
    return f" ({', '.join(said)})" if said else ""


def _stretches(text: str, forms: Iterable[str]) -> list[tuple[int, int]]:
    """Find where any of the forms occur; overlapping and adjacent ones are one stretch, so that no rest is shown."""
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
    """Return a secret as it is written in plain text and in a repr, JSON or a URL, encoded up to twice."""
    once = {write(secret) for write in WRITERS}
    return frozenset(write(form) for form in once for write in WRITERS)


def _lower_hex(quoted: str) -> str:
    return re.sub("%..", lambda code: code[0].lower(), quoted)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # os.environ holds bytes that are not UTF-8 this way


# A repr escapes single quotes only if there are double quotes too, so both forms are listed.
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
