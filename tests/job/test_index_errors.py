"""An unreachable index, a refusing one, and one without the package get different messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_pipelines.errors import PackagingError
from emr_pipelines.job.index_errors import not_fetched
from emr_pipelines.job.wheels import build

# messages of uv 0.9
NO_HOST = """error: Request failed after 3 retries in 5.0s
  cause: Failed to fetch: https://no-such-host.invalid/simple/polars/
  cause: error sending request for url (https://no-such-host.invalid/simple/polars/)
  cause: client error (Connect)
  cause: dns error
  cause: failed to lookup address information: Name or service not known
"""
DENIED = """error: Failed to fetch: `https://index.example/simple/polars/`
  Caused by: HTTP status client error (401 Unauthorized) for url (https://index.example/simple/polars/)
"""
MISSING = """  × No solution found when resolving dependencies:
  ╰─▶ Because polras was not found in the package registry and you require polras, we can conclude that your
      requirements are unsatisfiable.
"""


@pytest.mark.parametrize(
    ("said", "sentence", "reason"),
    [
        (
            NO_HOST,
            "could not be fetched: the server did not answer. Check this machine's network",
            "Name or service not known",
        ),
        (
            DENIED,
            "could not be fetched: the server denied access. Check the user name and password",
            "401 Unauthorized",
        ),
        (MISSING, "are not available as wheels for Python 3.11 on x86_64:", "polras was not found"),
    ],
)
def test_why_packages_were_not_fetched(said: str, sentence: str, reason: str) -> None:
    told = not_fetched("polars", said, "Python 3.11 on x86_64")
    assert told.startswith(f"The requirements polars {sentence}")
    assert reason in told


def test_an_index_that_nobody_listens_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_FIND_LINKS", "UV_INDEX", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(PackagingError, match="the server did not answer"):
        build(["a-package-that-is-nowhere"], tmp_path)
