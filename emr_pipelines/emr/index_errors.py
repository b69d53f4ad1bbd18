"""Why uv did not fetch packages, read from what it says: it has one exit code for all reasons."""

from __future__ import annotations

import re

from emr_pipelines.emr.disclosure import masked

UNREACHED = re.compile("(?i)error sending request|dns error|tcp connect error|operation timed out|connection reset")
DENIED = re.compile(r"HTTP status client error \((401|403|407)")
LONGEST_REASON = 800  # characters of what uv said


def not_fetched(requirements: str, said: str, target: str) -> str:
    """A sentence for a person. Where an index did not answer, nobody knows whether it has the packages.

    said: what uv wrote to stderr. target: what wheels were asked for, as in "Python 3.11 on x86_64".
    """
    if UNREACHED.search(said):
        what = (
            "could not be fetched: the server did not answer. Check the network and the proxy of this machine, and "
            "the URL of the index (UV_DEFAULT_INDEX, or pip's index-url)."
        )
    elif DENIED.search(said):
        what = "could not be fetched: the server refused. Check the name and password in the URL of the index."
    else:
        what = f"cannot be had as wheels for {target}:"
    return f"The requirements {requirements} {what} {_reason(said)}"


def _reason(said: str) -> str:
    """What uv said from its error on, in one line, without its drawing."""
    lines = [re.sub(r"^[\s×│├╰─▶]+", "", line) for line in said.splitlines()]
    error = re.search(r"^[ \t]*(?:error:|×)", said, re.MULTILINE)
    start = said[: error.start()].count("\n") if error else 0
    text = " ".join(re.sub(r"^(error|cause|Caused by): ", "", line) for line in lines[start:] if line)
    text = masked(text)
    return f"{text[:LONGEST_REASON]}..." if len(text) > LONGEST_REASON else text
