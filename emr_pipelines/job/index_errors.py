"""Explains from uv's output why it could not fetch packages; uv has a single exit code for all reasons."""

from __future__ import annotations

import re

from emr_pipelines.aws.redaction import masked

UNREACHED = re.compile("(?i)error sending request|dns error|tcp connect error|operation timed out|connection reset")
DENIED = re.compile(r"HTTP status client error \((401|403|407)")
LONGEST_REASON = 800  # characters of uv's output


def not_fetched(requirements: str, said: str, target: str) -> str:
    """Say why packages could not be fetched. An index that did not answer may well have them.

    said: what uv wrote to stderr. target: the platform of the wheels, such as "Python 3.11 on x86_64".
    """
    if UNREACHED.search(said):
        what = (
            "could not be fetched: the server did not answer. Check this machine's network and proxy, and the URL of "
            "the package index (UV_DEFAULT_INDEX, or pip's index-url)."
        )
    elif DENIED.search(said):
        what = (
            "could not be fetched: the server denied access. Check the user name and password in the URL of the index."
        )
    else:
        what = f"are not available as wheels for {target}:"
    return f"The requirements {requirements} {what} {_reason(said)}"


def _reason(said: str) -> str:
    """Return uv's output from its error on, in one line, without box-drawing characters."""
    lines = [re.sub(r"^[\s×│├╰─▶]+", "", line) for line in said.splitlines()]
    error = re.search(r"^[ \t]*(?:error:|×)", said, re.MULTILINE)
    start = said[: error.start()].count("\n") if error else 0
    text = " ".join(re.sub(r"^(error|cause|Caused by): ", "", line) for line in lines[start:] if line)
    text = masked(text)
    return f"{text[:LONGEST_REASON]}..." if len(text) > LONGEST_REASON else text
