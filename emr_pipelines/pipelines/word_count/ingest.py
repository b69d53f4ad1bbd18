"""Copy any number of text files into one clean snapshot of lines, with a manifest of what went in."""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from heapq import nlargest
from typing import TYPE_CHECKING

from emr_pipelines.errors import EmrPipelinesError, InvalidValue, SourceError, StorageUnusable
from emr_pipelines.pipelines.word_count.content import SNIFFED_BYTES, reject_binary
from emr_pipelines.pipelines.word_count.output import collector, delete_from, open_output, spark_must_write, write_file
from emr_pipelines.pipelines.word_count.reading import read_split, reject_changed_empty
from emr_pipelines.pipelines.word_count.splits import REQUIREMENTS as TEXT_REQUIREMENTS
from emr_pipelines.pipelines.word_count.splits import Split, plan_tasks, reject_sources_in
from emr_pipelines.remote.files import ALLOWED_SOURCES, TextFile, find_text_files, validate_sources
from emr_pipelines.remote.progress import pluralize

if TYPE_CHECKING:  # pyspark takes a second to import, and a code location that only looks at the graph needs none of it
    from pyspark.sql import SparkSession

REQUIREMENTS = TEXT_REQUIREMENTS

MANIFEST = "_manifest.json"  # a leading underscore: Spark and `find_text_files` pass over it
# the part files' names as tasks write them, or as Spark does: part-00000-<UUID>-c000.txt
LEFTOVER = re.compile(rf"part-\d{{5,}}(-[0-9a-f-]{{36}}-c\d{{3,}})?\.txt|{re.escape(MANIFEST)}")
DECODE_ERRORS = "emr_pipelines.replace_and_count"
LISTED_FILES = 100
LARGEST_FILES = 20


@dataclass(frozen=True)
class IngestParams:
    """`sources`: files, folders, globs, s3:// prefixes. `output`: the folder (path or URI) to write."""

    sources: tuple[str, ...]
    output: str

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidValue("sources", list(self.sources), f"at least one of: {ALLOWED_SOURCES}")
        validate_sources(self.sources)


@dataclass(frozen=True)
class FileEntry:
    """A file's row in the manifest."""

    path: str
    bytes: int
    lines: int = 0
    replaced_bytes: int = 0


@dataclass(frozen=True)
class IngestResult:
    """The result of an ingest. `bytes` are those of the files as stored; `replaced_bytes` were not UTF-8 and became
    U+FFFD, by file in `replaced_by_file` (the first 100 of `replaced_files`; the manifest has all). `largest_files`
    are the first 20 by bytes. `digest` is one of the cleaned text as it lies in its files: equal for equal files,
    another for the same text in other files."""

    files: int
    empty_files: int
    bytes: int
    lines: int
    replaced_bytes: int
    replaced_files: int
    replaced_by_file: dict[str, int]
    largest_files: tuple[FileEntry, ...]
    manifest: str
    digest: str
    seconds: float


@dataclass(frozen=True)
class _Copied:
    """The result of copying one split. `problem`: why it could not be copied; then the other fields mean nothing."""

    path: str
    lines: int = 0
    replaced_bytes: int = 0
    digest: str = ""
    problem: EmrPipelinesError | None = None


@dataclass
class _Cleaner:
    """Bytes of one split in, clean UTF-8 out: `\\r\\n` becomes `\\n`, undecodable bytes become U+FFFD and are counted,
    the last line gets its line end. Not for concurrent use in a process: Python finds error handlers by name."""

    lines: int = 0
    replaced_bytes: int = 0
    _held_back: str = field(default="", init=False)
    _ends_line: bool = field(default=True, init=False)

    def clean(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        codecs.register_error(DECODE_ERRORS, self._replace)
        decoder = codecs.getincrementaldecoder("utf-8")(errors=DECODE_ERRORS)
        for block in blocks:
            yield from self._emit(self._held_back + decoder.decode(block), last=False)
        yield from self._emit(self._held_back + decoder.decode(b"", final=True), last=True)
        if not self._ends_line:
            self.lines += 1
            yield b"\n"

    def _emit(self, text: str, last: bool) -> Iterator[bytes]:
        # the \n of a \r\n may be in the next block
        self._held_back = "\r" if text.endswith("\r") and not last else ""
        text = text.removesuffix(self._held_back).replace("\r\n", "\n")
        if text:
            self.lines += text.count("\n")
            self._ends_line = text.endswith("\n")
            yield text.encode()

    def _replace(self, error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        self.replaced_bytes += error.end - error.start
        return "\ufffd", error.end


def ingest_text(spark: SparkSession, params: IngestParams) -> IngestResult:
    """Copy the text of all sources to `params.output` as clean part files, and write the manifest beside them.

    The snapshot is plain text: UTF-8, no byte order mark, every line ended by `\\n`, parts in the order of the files'
    paths. Tasks write their part files themselves, under names that depend on the input alone, so that a task that is
    tried again writes the same bytes to the same place; Spark writes them where `spark_must_write` says so. Part files
    and a manifest that a killed step has left are deleted first, and nothing else.

    Raises SourceNotFound, SourceUnreadable, NotText for the first file that is not text, SourceChanged for one that
    changed after it was listed, InvalidValue when a source lies in the output, and StorageUnusable when that cannot be
    written.
    """
    began = time.monotonic()
    files = find_text_files(params.sources)
    reject_sources_in(params.output, files)
    context = spark.sparkContext
    tasks = plan_tasks(files, context.defaultParallelism)
    output = params.output.rstrip("/")
    size = pluralize(sum(file.bytes for file in files), "byte")
    print(f"Reading {pluralize(len(files), 'file')}, {size}, in {pluralize(len(tasks), 'task')}.")

    try:
        delete_from(spark, output, LEFTOVER)
    except OSError as error:
        raise StorageUnusable(f"{output} cannot be written: {error}") from error

    def copy(numbered_task: tuple[int, tuple[Split, ...]]) -> list[_Copied]:
        number, task = numbered_task
        return _copy_task(task, f"{output}/part-{number:05d}.txt")

    if spark_must_write(spark, output):
        copied = _copied_by_spark(spark, tasks, output)
    else:
        copied = context.parallelize(list(enumerate(tasks)), max(len(tasks), 1)).flatMap(copy).collect()
    for split in copied:
        if split.problem:
            raise split.problem
    reject_changed_empty(files)

    manifest, digest = _manifest(files, copied)
    damaged = {entry.path: entry.replaced_bytes for entry in manifest if entry.replaced_bytes}
    result = IngestResult(
        files=len(files),
        empty_files=sum(entry.lines == 0 for entry in manifest),
        bytes=sum(file.bytes for file in files),
        lines=sum(entry.lines for entry in manifest),
        replaced_bytes=sum(damaged.values()),
        replaced_files=len(damaged),
        replaced_by_file=dict(list(damaged.items())[:LISTED_FILES]),
        largest_files=tuple(nlargest(LARGEST_FILES, manifest, key=lambda entry: entry.bytes)),
        manifest=f"{output}/{MANIFEST}",
        digest=digest,
        seconds=time.monotonic() - began,
    )
    text = json.dumps(
        {**asdict(result), "by_file": [asdict(entry) for entry in manifest]}, ensure_ascii=False, indent=1
    )
    write_file(spark, result.manifest, text.encode())
    return result


def _manifest(files: Sequence[TextFile], copied: Iterable[_Copied]) -> tuple[list[FileEntry], str]:
    """Return an entry for each file, in the order of the files, and the digest of all text."""
    entries = {file.path: FileEntry(file.path, file.bytes) for file in files}
    digest = blake2b(digest_size=16)
    for split in copied:
        entry = entries[split.path]
        lines, replaced_bytes = entry.lines + split.lines, entry.replaced_bytes + split.replaced_bytes
        entries[split.path] = replace(entry, lines=lines, replaced_bytes=replaced_bytes)
        digest.update(bytes.fromhex(split.digest))
    return list(entries.values()), digest.hexdigest()


def _copy_task(task: tuple[Split, ...], part: str) -> list[_Copied]:
    copied: list[_Copied] = []
    try:
        with open_output(part) as stream:
            for block in _clean_blocks(task, copied):
                stream.write(block)
    except OSError as error:
        return [_Copied(part, problem=StorageUnusable(f"{part} cannot be written: {error}"))]
    return copied


def _copied_by_spark(spark: SparkSession, tasks: Sequence[tuple[Split, ...]], output: str) -> list[_Copied]:
    """The same for all tasks, with part files that Spark writes. Memory grows with the longest line."""
    found = collector(spark)

    def copy(numbered_task: tuple[int, tuple[Split, ...]]) -> Iterator[tuple[str]]:
        number, task = numbered_task
        copied: list[_Copied] = []
        for lines in _whole_lines(_clean_blocks(task, copied)):
            yield (lines[:-1].decode(),)  # Spark ends each row with a line end, so one row can hold many lines
        found.add([(number, copied)])

    rows = spark.sparkContext.parallelize(list(enumerate(tasks)), max(len(tasks), 1)).flatMap(copy)
    table = spark.createDataFrame(rows, "value string", verifySchema=False)
    table.write.mode("append").text(output, compression="none", lineSep="\n")
    return [split for _, copied in sorted(found.value, key=lambda entry: entry[0]) for split in copied]


def _clean_blocks(task: tuple[Split, ...], copied: list[_Copied]) -> Iterator[bytes]:
    """The clean text of a task's splits in blocks; adds to `copied` what became of each split. A problem ends it and is
    all that is left in `copied`: an exception in a task reaches the caller as pages of Java trace."""
    for split in task:
        cleaner = _Cleaner()
        digest = blake2b(digest_size=16)
        try:
            for block in cleaner.clean(_text_blocks(split)):
                digest.update(block)
                yield block
        except SourceError as error:
            copied[:] = [_Copied(split.file.path, problem=error)]
            return
        copied.append(_Copied(split.file.path, cleaner.lines, cleaner.replaced_bytes, digest.hexdigest()))


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in blocks that end with a line end, as long as the text does."""
    begun: list[bytes] = []
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*begun, block[:end]])
            begun = []
        begun.append(block[end:])


def _text_blocks(split: Split) -> Iterator[bytes]:
    """The blocks of `read_split`. Raises NotText when the beginning of the file shows that it is binary."""
    blocks = read_split(split)
    if split.start == 0:
        beginning = b""
        while len(beginning) < SNIFFED_BYTES and (block := next(blocks, None)) is not None:
            beginning += block
        reject_binary(split.file.path, beginning, unpacked=split.file.compressed)
        yield beginning
    yield from blocks
