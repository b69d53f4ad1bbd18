"""A person at Dagster's UI: actions, and what the page then shows."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rehearsal import until

from tests.patience import HUNG_SECONDS

if TYPE_CHECKING:  # Playwright comes with an extra
    from playwright.sync_api import Locator, Page

LOCATION = "emr_pipelines.definitions"
LARGEST_PICTURE_BYTES = 150_000


class Visitor:
    """Each method waits until its target is visible; if a text occurs more than once, one must be visible."""

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page, self._url, self._pictures = page, url, pictures

    def goes_to(self, path: str) -> None:
        self.page.goto(f"{self._url}{path}")

    def follows(self, link: Locator) -> None:
        """Open a link without a click, which a message could cover and a reloading table could lose."""
        self.goes_to(str(self.sees(link).get_attribute("href")))

    def finds(self, text: str | re.Pattern[str]) -> Locator:
        """Find the elements with this text; a string must match completely."""
        return self.page.get_by_text(text, exact=isinstance(text, str)).filter(visible=True)

    def sees(self, what: str | re.Pattern[str] | Locator) -> Locator:
        from playwright.sync_api import expect

        found = (self.finds(what) if isinstance(what, (str, re.Pattern)) else what).first
        expect(found).to_be_visible(timeout=1000 * HUNG_SECONDS)
        return found

    def picture(self, name: str, folder: Path | None = None) -> None:
        """Save a picture for the documentation, or in the folder of --screenshots."""
        from PIL import Image

        path = (folder or self._pictures) / f"{name}.png"
        self.page.mouse.move(0, 0)  # hovering changes how an element looks
        with Image.open(BytesIO(self.page.screenshot(animations="disabled"))) as image:
            # a palette reduces the size to a third; this method keeps the colours of small elements
            palette = image.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            palette.save(path, optimize=True)
        assert path.stat().st_size <= LARGEST_PICTURE_BYTES, path

    # the graph

    def opens_the_graph(self) -> None:
        """Open the graph of all groups."""
        self.goes_to(
            "/asset-groups/?expanded=global%40global%3Aword_count%2Cglobal%40global%3Api%2Cglobal%40global%3Aoperations"
        )

    def materializes(self, *assets: str) -> None:
        """Materialize from the graph, and open the run."""
        button = self.page.get_by_role("button", name=f"Materialize selected ({len(assets)})")

        def selects() -> bool:
            """Select the assets. The graph may lay them out below its own toolbar, where a mouse does not reach."""
            for number, asset in enumerate(assets):
                self.finds(asset).last.dispatch_event("click", {"shiftKey": number > 0})
            return bool(button.is_visible())

        until(selects)
        button.click()
        self.follows(self.page.get_by_role("link", name="View", exact=True))

    # a run

    def launches(self, job: str, config: str) -> None:
        """Launch from the launchpad, and open the run."""
        self.opens_the_launchpad(job)
        self.page.locator(".CodeMirror").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(config)
        self.sees("No errors")
        self.page.get_by_role("button", name="Launch Run").click()
        self.page.wait_for_url("**/runs/*")

    def opens_the_launchpad(self, job: str) -> None:
        self.goes_to(f"/locations/{LOCATION}/jobs/{job}/playground")
        self.sees(self.page.locator(".CodeMirror").get_by_text("resources", exact=True))

    def sees_the_run(self, status: Literal["Started", "Success", "Failure", "Canceled"]) -> None:
        from playwright.sync_api import expect

        self.sees(status)
        expect(self.page.get_by_role("button", name="Terminate")).to_have_count(1 if status == "Started" else 0)

    def terminates_the_run(self) -> None:
        self.page.get_by_role("button", name="Terminate").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Terminate 1 run").click()
        self.sees_the_run("Canceled")

    def sees_event(self, event: str, text: str) -> str:
        """Wait for an event of the run with this text, and return its text. `event` is for the page's filter, because
        the page shows only the latest events."""
        box = self.page.get_by_placeholder("Filter…")
        box.fill(event)
        said: str = self.sees(re.compile(re.escape(text))).inner_text()
        box.fill("")
        box.blur()
        return said

    def is_dark(self) -> bool:
        """Tell whether the page's background is dark."""
        ground: str = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return max(map(int, re.findall(r"\d+", ground)[:3])) < 128

    # an asset

    def plots(self, name: str) -> None:
        """See the plot of an asset's number over time, and return to the table."""
        self.page.get_by_role("button", name="Plots").click()
        self.sees(name)
        self.sees(self.page.locator("canvas"))
        self.page.get_by_role("button", name="Table").click()

    def opens_picture(self, name: str) -> tuple[int, int]:
        """Open a picture in an asset's metadata; return the width and height of the decoded picture."""
        row = self.page.get_by_role("row").filter(has=self.page.get_by_text(name, exact=True)).last
        row.get_by_text("[Show Markdown]").click()
        image = self.sees(self.page.get_by_role("dialog").locator("img"))
        width, height = image.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
        return cast("int", width), cast("int", height)

    def closes(self) -> None:
        from playwright.sync_api import expect

        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name=re.compile("Close|Done")).click()
        expect(dialog).to_have_count(0)

    # a sensor

    def opens_the_sensor(self, sensor: str) -> None:
        self.goes_to(f"/locations/{LOCATION}/sensors/{sensor}")

    def sees_tick(self, what_came: str) -> Locator:
        """See a tick of the sensor that is open; return its row."""
        ticks = self.page.get_by_role("table").filter(has_text="Duration")
        return self.sees(ticks.get_by_role("row").filter(has_text=what_came))
