"""Reading splits: lines, compressed files, and files that change during the read."""

from __future__ import annotations

import bz2
import gzip
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_pipelines.errors import NotText, SourceChanged, SourceError, SourceUnreadable
from emr_pipelines.pipelines.word_count import reading
from emr_pipelines.pipelines.word_count.reading import read_split, reject_changed, reject_changed_empty
from emr_pipelines.pipelines.word_count.splits import Split, plan_tasks
from emr_pipelines.remote.files import TextFile, find_text_files
from tests.patience import HUNG_SECONDS


def listed(path: Path | str) -> TextFile:
    (file,) = find_text_files([str(path)])
    return file


def read(file: TextFile) -> bytes:
    return b"".join(block for task in plan_tasks([file], 1) for split in task for block in read_split(split))


@given(
    text=st.text(alphabet="ab\n\r ", max_size=60).map(str.encode),
    split_bytes=st.integers(1, 20),
    block_bytes=st.integers(1, 9),
)
def test_splits_neither_lose_nor_double_a_line(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, split_bytes: int, block_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "split.txt"
    path.write_bytes(text)
    tasks = plan_tasks(find_text_files([str(path)]), parallelism=3, split_bytes=split_bytes)
    parts = [b"".join(read_split(split, block_bytes)) for task in tasks for split in task]
    assert b"".join(parts) == text
    assert all(part.endswith(b"\n") for part in [part for part in parts if part][:-1])


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".BZ2", bz2.compress)])
def test_compressed_files_of_several_members_are_read_whole(tree: Path, suffix: str, compress: Any) -> None:
    path = tree / f"two{suffix}"
    text = os.urandom(300_000).hex(" ", 8).encode()  # larger than the blocks that are read and decompressed
    for padding in (b"", b"\0" * 512):
        path.write_bytes(compress(b"\xef\xbb\xbfone\n") + compress(text) + compress(b"") + compress(b"two\n") + padding)
        assert read(listed(path)) == b"one\n" + text + b"two\n"
        small = Split(listed(path), 0, path.stat().st_size)
        assert max(len(block) for block in read_split(small, block_bytes=1000)) == 1000


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MARK + b"one\n", b"one\n"),
        (MARK, b""),
        (MARK + MARK + b"x", MARK + b"x"),
        (MARK[:2], MARK[:2]),
        (MARK[:2] + b"one" + MARK, MARK[:2] + b"one" + MARK),
        (b"x" + MARK, b"x" + MARK),
    ],
)
def test_a_byte_order_mark_is_dropped_however_the_file_is_cut(tree: Path, text: bytes, expected: bytes) -> None:
    members = b"".join(gzip.compress(text[at : at + 1]) for at in range(len(text)))
    (tree / "a.gz").write_bytes(members)
    assert read(listed(tree / "a.gz")) == expected
    (tree / "a.txt").write_bytes(text)
    for size in (1, 2, 3, 100):
        assert b"".join(read_split(Split(listed(tree / "a.txt"), 0, len(text)), size)) == expected
    task = plan_tasks([listed(tree / "a.txt")], 1, split_bytes=2)[0]
    assert b"".join(block for split in task for block in read_split(split)) == expected


def test_empty_files_have_no_text_whatever_they_are_called(tree: Path) -> None:
    for name in ("a.txt", "b.gz", "c.bz2"):
        (tree / name).touch()
        assert read(listed(tree / name)) == b""


NOISE = os.urandom(5000).hex(" ", 4).encode()
PACKED = [(".gz", "gzip", gzip.compress), (".bz2", "bzip2", bz2.compress)]


@pytest.mark.parametrize(("suffix", "name", "compress"), PACKED)
def test_a_cut_compressed_file_is_damaged(tree: Path, suffix: str, name: str, compress: Any) -> None:
    path = tree / f"cut{suffix}"
    whole = compress(b"one\n") + compress(NOISE)
    for size in (1, 2, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(
            NotText, match=rf"cut\{suffix} is a damaged compressed file \(it ends within its {name} data"
        ):
            read(listed(path))


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_a_changed_bit_in_a_compressed_file_is_damage(tree: Path, suffix: str, compress: Any) -> None:
    path = tree / f"bit{suffix}"
    whole = bytearray(compress(NOISE))
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(NotText, match=rf"bit\{suffix} is a damaged compressed file"):
        read(listed(path))


@pytest.mark.parametrize("more", [b"two\n", b"\0\0two\n", b"x", NOISE * 30])
@pytest.mark.parametrize(("suffix", "name", "compress"), PACKED)
def test_bytes_after_the_compressed_data_are_told_from_damage(
    tree: Path, suffix: str, name: str, compress: Any, more: bytes
) -> None:
    """Python's bz2 module ignores them silently, gzip's says that the file is no gzip file."""
    path = tree / f"more{suffix}"
    packed = compress(NOISE * 30) + compress(b"one\n")
    path.write_bytes(packed + more)
    with pytest.raises(NotText) as caught:
        read(listed(path))
    offset = len(packed) + len(more) - len(more.lstrip(b"\0"))
    count = len(more.lstrip(b"\0"))
    says = f"more{suffix} has {count:,} bytes after the end of its {name} data, from byte {offset:,} on. Cut them off"
    assert says in str(caught.value)
    assert f"head -c {offset}," in str(caught.value)


def test_text_without_a_break_for_too_long_is_refused_with_where_it_is(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST_PIECE_BYTES", 3000)
    text = b"one two\n" * 1000 + "é".encode() * 1600 + b" three\n"
    (tree / "plain.txt").write_bytes(text)
    (tree / "packed.gz").write_bytes(gzip.compress(text))
    for name, of in (("plain.txt", "the file"), ("packed.gz", "its unpacked text")):
        file = listed(tree / name)
        says = rf"{tree}/{name} has no space or punctuation mark for more than 3,000 bytes, from byte 8,000 of {of} on;"
        with pytest.raises(NotText, match=says):
            list(read_split(Split(file, 0, file.bytes), block_bytes=100))
    plain = listed(tree / "plain.txt")
    for start, end in ((3, 4000), (4000, 7990)):
        assert all(read_split(Split(plain, start, end), block_bytes=100))
    with pytest.raises(NotText, match="from byte 8,000 of the file on"):
        list(read_split(Split(plain, 7990, 8100), block_bytes=100))
    (tree / "plain.txt").write_bytes("。".join(["é" * 1499] * 10).encode() + b"\n" + b"x" * 3000)
    assert read(listed(tree / "plain.txt")) == (tree / "plain.txt").read_bytes()


# a change of a listed file of 10 bytes, and the message
def _truncate(path: Path) -> None:
    os.truncate(path, 4)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more\n")


def _replace(path: Path) -> None:
    other = path.with_name("_other")
    other.write_bytes(b"something else\n")
    other.rename(path)


def _remove(path: Path) -> None:
    path.unlink()


def _make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _write_again(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # clocks may be too coarse to show it


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (_truncate, "it had {size} bytes when it was listed and has 4 now"),
    (_empty, "it had {size} bytes when it was listed and has 0 now"),
    (_append, "it had {size} bytes when it was listed and has {more} now"),
    (_replace, "it had {size} bytes when it was listed and has 15 now"),
    (_remove, "it was removed; it had {size} bytes when it was listed"),
    (_make_a_folder, "it was removed; it had {size} bytes when it was listed"),
    (_write_again, "it was written again, with the same {size} bytes"),
]


@pytest.mark.parametrize("name", ["a.txt", "a.gz", "a.bz2"])
@pytest.mark.parametrize("when", ["before it is opened", "between two blocks"])
@pytest.mark.parametrize(("change", "says"), CHANGES)
def test_a_file_that_changes_after_it_was_listed_is_refused_and_may_be_tried_again(
    tree: Path, change: Callable[[Path], None], says: str, when: str, name: str
) -> None:
    path = tree / name
    packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress}
    pack = packers.get(path.suffix, bytes)
    path.write_bytes(pack(b"one\ntwo\nthree\n"))
    file = listed(path)
    blocks = read_split(Split(file, 0, file.bytes), block_bytes=4)
    if when == "between two blocks":
        assert next(blocks) == b"one\n"
    change(path)
    with pytest.raises(SourceChanged) as caught:
        list(blocks)
    said = says.format(size=file.bytes, more=file.bytes + 5)
    assert str(caught.value) == f"{path} changed while it was read: {said}. Retry when nothing writes to it."
    assert caught.value.retryable


def test_every_split_looks_whether_its_file_changed(tree: Path) -> None:
    path = tree / "a.txt"
    path.write_bytes(b"one\ntwo\n")
    (task,) = plan_tasks([listed(path)], parallelism=1, split_bytes=4)
    assert [b"".join(read_split(split)) for split in task] == [b"one\n", b"two\n"]
    _append(path)
    for split in task:
        with pytest.raises(SourceChanged, match="it had 8 bytes when it was listed and has 13 now"):
            list(read_split(split))


def test_a_file_that_was_empty_is_looked_at_too(tree: Path) -> None:
    (tree / "a.txt").touch()
    file = listed(tree / "a.txt")
    reject_changed_empty([file])
    _append(tree / "a.txt")
    with pytest.raises(SourceChanged, match="it had 0 bytes when it was listed and has 5 now"):
        reject_changed_empty([file])


def test_files_that_were_empty_are_looked_at_together(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [TextFile(str(tree / f"{number}.txt"), bytes=number % 2) for number in range(8)]
    together = threading.Barrier(4)  # passes once four checks are in progress
    looked: list[str] = []

    def look(file: TextFile) -> None:
        together.wait(HUNG_SECONDS)
        looked.append(file.path)

    monkeypatch.setattr(reading, "reject_changed", look)
    reject_changed_empty(files)
    assert sorted(looked) == [file.path for file in files if not file.bytes]


def test_a_change_of_which_the_time_is_not_known_is_told_by_its_size(tree: Path) -> None:
    (tree / "a.txt").write_bytes(b"one")
    reject_changed(TextFile(str(tree / "a.txt"), 3))
    with pytest.raises(SourceChanged, match="had 4 bytes when it was listed and has 3 now"):
        reject_changed(TextFile(str(tree / "a.txt"), 4))


def test_objects_in_s3_that_change_are_refused(s3: Any) -> None:
    s3.create_bucket(Bucket="changing")
    for key in ("a.txt", "b.gz"):
        text = b"one\ntwo\n"
        body = gzip.compress(text) if key.endswith(".gz") else text
        s3.put_object(Bucket="changing", Key=key, Body=body)
        file = listed(f"s3://changing/{key}")
        assert file.modified_ns > 0
        assert b"".join(read_split(Split(file, 0, file.bytes))) == text
        s3.put_object(Bucket="changing", Key=key, Body=body[:-1])
        with pytest.raises(
            SourceChanged, match=rf"s3://changing/{re.escape(key)} changed .* and has {len(body) - 1} now"
        ):
            list(read_split(Split(file, 0, file.bytes)))
        s3.delete_object(Bucket="changing", Key=key)
        with pytest.raises(SourceChanged, match="it was removed"):
            list(read_split(Split(file, 0, file.bytes)))
        s3.put_object(Bucket="changing", Key=key, Body=body)
        again = TextFile(file.path, file.bytes, listed(file.path).modified_ns - 10**9)
        with pytest.raises(SourceChanged, match="it was written again"):
            list(read_split(Split(again, 0, again.bytes)))


def test_a_file_that_cannot_be_read_and_has_not_changed_is_named() -> None:
    file = TextFile("/proc/self/mem", 0)  # its first page must not be read
    with pytest.raises(SourceUnreadable, match=r"/proc/self/mem cannot be read") as caught:
        list(read_split(Split(file, 0, 10)))
    assert isinstance(caught.value, SourceError)
    assert not caught.value.retryable


def test_memory_does_not_grow_with_the_line(tree: Path) -> None:
    path = tree / "one_line.txt"
    path.write_bytes(b"x" * 10_000)
    sizes = [len(block) for block in read_split(Split(listed(path), 0, 10_000), block_bytes=100)]
    assert max(sizes) == 100
    assert sum(sizes) == 10_000
