"""Charts in metadata are small and transparent, whatever they show."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import date

import pytest
from PIL import Image

from emr_pipelines import charts
from emr_pipelines.costs.bill import Doing, Span

MAX_BYTES = 40_000  # in an event, which Dagster stores
SPANS = [
    Span(Doing.STARTING, "starting", 0, 300),
    Span(Doing.STEP, "word_counts", 300, 900),
    Span(Doing.IDLE, "idle", 900, 910),
    Span(Doing.ENDING, "ending", 910, 1000),
]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.top_words({"the": 10**12, "$a$_b": 7, "中文": 3, "x" * 1000: 1}),
        lambda: charts.top_words({f"w{number}": 1000 - number for number in range(1000)}),
        lambda: charts.top_words({}),
        lambda: charts.rank_frequency([(rank, 10**6 // rank) for rank in range(1, 200)]),
        lambda: charts.rank_frequency([]),
        lambda: charts.convergence([10, 10**15], [0.5, 1e-9], [5.0, 1e-7], [1.2e-16]),
        lambda: charts.convergence([4], [0.0], [1.0], [0.0]),
        lambda: charts.timeline(SPANS, "3 x m5.xlarge, 41 % idle, about 0.06 USD."),
        lambda: charts.timeline(SPANS[:1], "never ready"),
        lambda: charts.timeline(
            SPANS, ", ".join(f"{number} x m5.{number}xlarge spot, billed for 3,612 s" for number in range(6))
        ),
        lambda: charts.daily_costs([date(2026, 3, day) for day in range(1, 31)], [1.0] * 30, [0.5] * 30, "USD"),
        lambda: charts.timeline(
            [Span(Doing.STEP, f"asset_{number}", number, number + 2) for number in range(300)], "many"
        ),
    ],
)
def test_a_picture_is_small_and_fits_any_page(draw: Callable[[], str]) -> None:
    markdown = draw()
    assert len(markdown) < MAX_BYTES
    alt, _, data = markdown.removeprefix("![").removesuffix(")").partition("](data:image/png;base64,")
    assert alt
    picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGBA")
    assert 600 < picture.width < 1000
    assert 80 < picture.height < 700
    assert picture.getpixel((0, 0)) == (255, 255, 255, 0)
    assert len(picture.getcolors(1 << 20) or []) > 10


def _rows_of(picture: Image.Image, colour: str) -> set[int]:
    wanted = tuple(bytes.fromhex(colour.removeprefix("#")))
    return {y for y in range(picture.height) for x in range(picture.width) if picture.getpixel((x, y))[:3] == wanted}  # type: ignore[index]


def test_idleness_has_a_colour_of_its_own() -> None:
    def drawn(spans: list[Span]) -> Image.Image:
        data = charts.timeline(spans, "").partition("base64,")[2].removesuffix(")")
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")

    assert _rows_of(drawn(SPANS), charts.COLOURS["red"])
    assert not _rows_of(drawn([span for span in SPANS if span.doing is not Doing.IDLE]), charts.COLOURS["red"])
