"""A program's standard streams still behave as programs and libraries expect while its output is forwarded."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from emr_pipelines.remote.driver import tee
from emr_pipelines.remote.printing import PrintedText


class Pipes:
    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def log_external_stream(self, name: str, text: str) -> None:
        self.texts.append((name, text))


def test_all_text_is_passed_on_however_it_is_written() -> None:
    texts: list[str] = []
    stream = cast("Any", PrintedText(io.StringIO(), texts.append))
    assert stream.write("é") == 1
    stream.writelines(line for line in ("one\n", "two\n"))
    print("three", 4, file=stream)
    assert "".join(texts) == "éone\ntwo\nthree 4\n"
    with pytest.raises(TypeError, match="must be str, not bytes"):
        stream.write(b"x")
    assert "".join(texts) == "éone\ntwo\nthree 4\n"


def test_in_everything_else_it_is_the_stream_whose_place_it_takes(tmp_path: Path) -> None:
    pipes = Pipes()
    with (tmp_path / "log").open("w", encoding="latin-1", errors="xmlcharrefreplace") as file:
        stream = tee(file, "stdout", cast("Any", pipes))
        assert (stream.encoding, stream.errors, stream.fileno()) == ("latin-1", "xmlcharrefreplace", file.fileno())
        assert (stream.writable(), stream.readable(), stream.isatty(), stream.closed) == (True, False, False, False)
        assert (stream.name, stream.mode, stream.line_buffering) == (file.name, "w", False)
        stream.writelines(["a", "", "é€\n"])
        stream.flush()
        stream.buffer.write(b"raw\n")
        stream.flush()
        subprocess.run([sys.executable, "-c", "print('child')"], stdout=stream, check=True)
    assert (tmp_path / "log").read_bytes() == b"a\xe9&#8364;\nraw\nchild\n"
    assert pipes.texts == [("stdout", "a"), ("stdout", "é€\n")]
