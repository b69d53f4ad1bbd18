"""The sensors: jobs when something happened."""

import json
from base64 import b85decode, b85encode
from dataclasses import dataclass
from hashlib import blake2b

import dagster as dg

from emr_pipelines.assets.word_count import configured_sources, input_text
from emr_pipelines.automation.jobs import word_count_job
from emr_pipelines.errors import SourceNotFound
from emr_pipelines.programs.text import TextFile, find_text_files

FINGERPRINT_BYTES = 6  # 100,000 files are 750 kB of cursor, and a chance of 1 in 2,800 million to miss a new one
NAMED_FILES = 3


@dataclass(frozen=True)
class Cursor:
    """What the sensor remembers: how many runs it asked for, and a fingerprint of each file it saw last."""

    runs: int = 0
    seen: frozenset[bytes] = frozenset()

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        if not text:
            return cls()
        fields = json.loads(text)
        packed = b85decode(fields["seen"])
        steps = range(0, len(packed), FINGERPRINT_BYTES)
        return cls(fields["runs"], frozenset(packed[start : start + FINGERPRINT_BYTES] for start in steps))

    def __str__(self) -> str:
        return json.dumps({"runs": self.runs, "seen": b85encode(b"".join(sorted(self.seen))).decode()})


def fingerprint(file: TextFile) -> bytes:
    """Changes when the file's path, size or time of last change does."""
    identity = f"{file.path}\0{file.bytes}\0{file.modified_ns}"
    return blake2b(identity.encode(errors="surrogateescape"), digest_size=FINGERPRINT_BYTES).digest()


@dg.sensor(
    job=word_count_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Counts words again when there are new or changed files under EMR_PIPELINES_SOURCE: one run for all "
    "that came since the last tick. Files that went away alone start nothing.",
)
def new_text_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    sources = configured_sources()
    before = Cursor.parse(context.cursor)
    try:
        files = find_text_files(sources)
    except SourceNotFound as nothing:
        return dg.SensorResult(skip_reason=str(nothing))
    now = {fingerprint(file): file for file in files}
    new = [file for mark, file in now.items() if mark not in before.seen]
    if not new:
        gone = len(before.seen - now.keys())
        return dg.SensorResult(
            skip_reason=f"No new or changed file among {len(files):,} under {', '.join(sources)}"
            + (f"; {gone:,} went away, which starts no run." if gone else "."),
            cursor=str(Cursor(before.runs, frozenset(now))),
        )
    after = Cursor(before.runs + 1, frozenset(now))
    names = ", ".join(file.path for file in new[:NAMED_FILES]) + (", ..." if len(new) > NAMED_FILES else "")
    context.log.info(f"{len(new):,} of {len(files):,} files are new or changed: {names}.")
    state = blake2b(b"".join(sorted(now)), digest_size=8).hexdigest()
    request = dg.RunRequest(
        run_key=f"{after.runs}-{state}",  # the number, because files can return to a state they were in before
        run_config={"ops": {input_text.op.name: {"config": {"sources": sources}}}},
        tags={"new_files": str(len(new))},
    )
    return dg.SensorResult(run_requests=[request], cursor=str(after))
