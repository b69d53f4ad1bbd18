"""Charts for metadata: PNGs of about 20 kB in Markdown, legible on dark and light pages."""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.axes import Axes
from emr_pipelines.costs.bill import Span

WIDTH_INCHES = 7.2
DOTS_PER_INCH = 110
INK = "#757b85"  # of text and axes; its contrast is 4.3 on white and 4.8 on the dark theme's ground
COLOURS = {"blue": "#3d8bfd", "orange": "#f08c2e", "green": "#2fa36b", "red": "#e5534b", "grey": "#b0b5bd"}
MAX_BARS = 20
TITLE_CHARACTERS = 105  # in a line
SHOWN_CHARACTERS = 24
IN_MINUTES_FROM_SECONDS = 300
STYLE: dict[Any, Any] = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def top_words(counts: Mapping[str, int]) -> str:
    """Draw the most frequent words as bars. counts: in falling order."""
    shown = list(counts.items())[:MAX_BARS]
    with _figure(0.6 + 0.2 * max(len(shown), 1)) as (axes, save):
        labels = [_shortened(word) for word, _ in shown]
        places = range(len(shown), 0, -1)
        bars = axes.barh(list(places), [count for _, count in shown], color=COLOURS["blue"])
        axes.bar_label(bars, labels=[f"{count:,}" for _, count in shown], padding=3, color=INK)
        axes.set_yticks(list(places), labels)
        for label in axes.get_yticklabels():
            label.set_parse_math(False)  # a dollar sign is a dollar sign
        axes.set_xlabel("how often it occurs")
        axes.margins(x=0.12)  # for the numbers
        axes.xaxis.set_major_formatter(_thousands())
        return save(f"The {len(shown)} most frequent words")


def rank_frequency(points: Sequence[tuple[int, int]]) -> str:
    """How often the word of each rank occurs, both on log scales; by Zipf's law a line that falls by about 45 degrees.
    `points`: ranks and counts, by rank."""
    with _figure(2.8) as (axes, save):
        ranks, counts = [rank for rank, _ in points], [count for _, count in points]
        axes.loglog(ranks, counts, ".-", color=COLOURS["blue"], markersize=4, linewidth=1)
        if points:
            first_rank, first_count = points[0]
            zipf = [first_count * first_rank / rank for rank in ranks]
            axes.loglog(ranks, zipf, "--", color=COLOURS["grey"], linewidth=1, label="half as often at twice the rank")
            axes.set_ylim(bottom=0.7)
            axes.legend(frameon=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_thousands())
            axis.set_minor_formatter("")
        axes.set_xlabel("rank of the word")
        axes.set_ylabel("how often it occurs")
        return save("Rank and frequency of the words")


def convergence(sizes: Sequence[int], errors: Sequence[float], bounds: Sequence[float], series: Sequence[float]) -> str:
    """How far estimates of pi are from it, by sample size, below the bound of five standard errors; and how far the
    `series` are."""
    with _figure(2.8) as (axes, save):
        least = 1e-17  # exact values are drawn too
        axes.set_xscale("log")
        axes.set_yscale("log")
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        x = [sizes[place] for place in order]
        bound = [bounds[place] for place in order]
        axes.plot(x, bound, "--", color=COLOURS["blue"], linewidth=1, label="5 standard errors")
        error = [max(errors[place], least) for place in order]
        axes.plot(x, error, "o-", color=COLOURS["blue"], markersize=5, label="Monte Carlo")
        for number, off in enumerate(series):
            label = "series" if number == 0 else None
            axes.axhline(max(off, least), color=COLOURS["orange"], linewidth=1.5, label=label)
        lowest = min([*error, *(max(off, least) for off in series)], default=1e-3)
        axes.set_ylim(lowest / 5, max(bound, default=1) * 3)
        axes.fill_between(x, [lowest / 5] * len(x), bound, color=COLOURS["blue"], alpha=0.12, linewidth=0)
        axes.set_xlabel("random points")
        axes.set_ylabel("distance from pi")
        axes.legend(frameon=False, loc="center left")
        return save("How close the estimates of pi are")


def timeline(spans: Sequence[Span], title: str) -> str:
    """Draw a cluster's timeline: a row for each of the first MAX_BARS steps, and for each other activity."""
    steps = list(dict.fromkeys(span.name for span in spans if str(span.doing) == "step"))[:MAX_BARS]
    shown = [span for span in spans if str(span.doing) != "step" or span.name in steps]
    names = list(dict.fromkeys(span.name for span in shown))
    colours = {"step": COLOURS["green"], "idle": COLOURS["red"], "bootstrapping": COLOURS["orange"]}
    lines = textwrap.wrap(title, TITLE_CHARACTERS)
    with _figure(0.7 + 0.24 * max(len(names), 1) + 0.15 * len(lines)) as (axes, save):
        long = max((span.end for span in shown), default=0) > IN_MINUTES_FROM_SECONDS
        unit, unit_seconds = ("minutes", 60) if long else ("seconds", 1)
        for span in shown:
            start, length = span.start / unit_seconds, max(span.seconds, 0) / unit_seconds
            colour = colours.get(str(span.doing), COLOURS["grey"])
            axes.barh(-names.index(span.name), length, left=start, height=0.7, color=colour)
        axes.set_yticks([-place for place in range(len(names))], [_shortened(name) for name in names])
        axes.set_xlabel(f"{unit} from the launch")
        axes.set_xlim(left=0)
        axes.set_title("\n".join(lines), loc="left", fontsize=9)
        return save(title)


def daily_costs(days: Sequence[date], worked: Sequence[float], idle: Sequence[float], unit: str) -> str:
    """Draw the cost of each day, in a unit, and how much of it was for idle clusters."""
    with _figure(2.8) as (axes, save):
        labels = [f"{day:%b} {day.day}" for day in days]
        places = range(len(days))
        axes.bar(places, worked, color=COLOURS["green"], width=0.7, label="worked, started or ended")
        axes.bar(places, idle, bottom=list(worked), color=COLOURS["red"], width=0.7, label="idled")
        every = -(-len(days) // 10)  # ten labels are legible
        axes.set_xticks(list(places)[::every], labels[::every])
        axes.set_xlim(-0.6, max(len(days), 7) - 0.4)
        axes.set_ylabel(f"{unit} a day")
        axes.legend(frameon=False)
        return save(f"{unit} a day")


def _shortened(name: str) -> str:
    return name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}…"


@contextmanager
def _figure(height_inches: float) -> Iterator[tuple[Axes, Callable[[str], str]]]:
    """Return axes to draw on, and a function that turns them into Markdown."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    def save(alt: str) -> str:
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a word may be in any script; it is then boxes
            figure.savefig(file, format="png", dpi=DOTS_PER_INCH, transparent=True)
        return markdown(file.getvalue(), alt)

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        yield figure.add_subplot(), save


def _thousands() -> Any:
    from matplotlib.ticker import StrMethodFormatter

    return StrMethodFormatter("{x:,.0f}")


def markdown(png: bytes, alt: str) -> str:
    """Return a PNG as a Markdown image."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"
