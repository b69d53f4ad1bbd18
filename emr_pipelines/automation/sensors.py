"""The sensor that starts a run when the source text changes."""

import json
import time
from base64 import b85decode, b85encode
from dataclasses import dataclass, replace
from hashlib import blake2b

import dagster as dg

from emr_pipelines.automation.jobs import REASON_TAG, word_count_job
from emr_pipelines.errors import EmrPipelinesError
from emr_pipelines.pipelines.word_count.assets import configured_sources, input_text
from emr_pipelines.remote.files import TextFile, find_text_files
from emr_pipelines.remote.progress import pluralize

FINGERPRINT_BYTES = 6  # 100,000 files are 750 kB of cursor, and a chance of 1 in 2,800 million to miss a new one
NAMED_FILES = 3


@dataclass(frozen=True)
class Cursor:
    """The sensor's memory: a fingerprint of each file that it saw last, and how many runs it has requested since it
    started with an empty cursor, at `began` (nanoseconds since 1970)."""

    began: int
    runs: int = 0
    seen: frozenset[bytes] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse a cursor. Raises ValueError, KeyError or TypeError for a text that `str(cursor)` did not write."""
        fields = json.loads(text)
        packed = b85decode(fields["seen"])
        steps = range(0, len(packed), FINGERPRINT_BYTES)
        seen = frozenset(packed[start : start + FINGERPRINT_BYTES] for start in steps)
        return cls(fields["began"], fields["runs"], seen)

    def __str__(self) -> str:
        seen = b85encode(b"".join(sorted(self.seen))).decode()
        return json.dumps({"began": self.began, "runs": self.runs, "seen": seen})


def fingerprint(file: TextFile) -> bytes:
    """Return a fingerprint that changes with the file's path, size or modification time."""
    identity = f"{file.path}\0{file.bytes}\0{file.modified_ns}"
    return blake2b(identity.encode(), digest_size=FINGERPRINT_BYTES).digest()


@dg.sensor(
    job=word_count_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Every minute: looks at the files of EMR_PIPELINES_SOURCE, or else of the sample text; when some are "
    "new, or have another size or time of change, takes in the text and counts its words, in one run for all of them. "
    "The first tick sees all files as new. Files that went away start nothing, and a run that failed is not repeated.",
)
def new_text_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    sources = configured_sources()
    before, lost = Cursor(began=time.time_ns()), ""
    if context.cursor:
        try:
            before = Cursor.parse(context.cursor)
        except (ValueError, KeyError, TypeError) as error:
            lost = f" All count as new, for the cursor cannot be read ({error!r})."
    try:
        files = find_text_files(sources)
    except EmrPipelinesError as refusal:
        return dg.SensorResult(skip_reason=str(refusal))
    now = {fingerprint(file): file for file in files}
    new = [file for mark, file in now.items() if mark not in before.seen]
    if not new:
        gone = len(before.seen - now.keys())
        return dg.SensorResult(
            skip_reason=f"No new or changed file among {len(files):,} under {', '.join(sources)}"
            + (f"; {gone:,} went away, which starts no run." if gone else "."),
            cursor=str(replace(before, seen=frozenset(now))),
        )
    after = replace(before, runs=before.runs + 1, seen=frozenset(now))
    folder = sources[0].rstrip("/") + "/"
    names = ", ".join(file.path.removeprefix(folder) for file in new[:NAMED_FILES])
    more = ", ..." if len(new) > NAMED_FILES else ""
    where = f"{pluralize(len(files), 'file')} under {', '.join(sources)}"
    reason = f"{len(new):,} new or changed: {names}{more}; of {where}.{lost}"
    context.log.info(f"Asked for a run: {reason}")
    state = blake2b(b"".join(sorted(now)), digest_size=8).hexdigest()
    request = dg.RunRequest(
        # a retried tick has the same key; files that return to an earlier state, or a reset cursor, give another one
        run_key=f"{after.began}-{after.runs}-{state}",
        run_config={"ops": {input_text.op.name: {"config": {"sources": sources}}}},
        tags={"new_files": str(len(new)), REASON_TAG: reason},
    )
    return dg.SensorResult(run_requests=[request], cursor=str(after))
