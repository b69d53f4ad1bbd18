"""Every form of a file: URI is one path, and nothing else is accepted as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_pipelines.remote.file_uris import file_uri, local_path


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "file:///{}"])
@pytest.mark.parametrize("path", ["/", "/in/a.txt", "/in/50% off/a%20b#c?d.txt", "/in\nout/é.txt"])
def test_each_form_names_the_path(form: str, path: str) -> None:
    assert local_path(form.format(path)) == path


@pytest.mark.parametrize(
    "location", ["", "/in", "in", "~/in", "file:in", "file://", "file://host/in", "file://~/in", "s3://b/k", "FILE:/in"]
)
def test_nothing_else_is_a_path_of_this_machine(location: str) -> None:
    assert local_path(location) is None


@given(st.text().map(lambda text: "/" + text.lstrip("/")))
def test_a_path_comes_back_from_its_uri(path: str) -> None:
    assert local_path(file_uri(path)) == path
