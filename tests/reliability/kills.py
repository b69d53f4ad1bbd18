"""Kill runs, their steps, the daemon and the connection at seeded moments, and check that nothing is lost or left.

    python -m tests.reliability.kills --kills 200 --seed 1
    python -m tests.reliability.kills --kills 200 --seed 1 --target emr-serverless

Ends with a table of what was killed, and with 1 when a promise was broken; each such line says how to see it again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.reliability.plans import SERVERLESS, Plan

if TYPE_CHECKING:
    from tests.reliability.campaign import Verdict

PHASES = ("before launch", "launching", "provisioning", "queued", "running", "publishing", "ending")


def verdicts(kills: int, seed: str, root: Path, plans: Sequence[Plan] = ()) -> Iterator[Verdict]:
    """Yield the outcomes of so many kills; kills that came too late are reported, but not counted."""
    from tests.reliability.campaign import Campaign  # forked processes import this module, and do not need it
    from tests.reliability.pipeline import on_serverless

    campaign = Campaign(root)
    try:
        number, struck = 0, 0
        while struck < kills:
            plan = plans[number] if number < len(plans) else Plan.drawn(f"{seed}/{number}", on_serverless())
            number += 1
            verdict = campaign.kill(plan)
            struck += bool(verdict.phase)
            yield verdict
            if plans and number == len(plans):
                return
    finally:
        campaign.stop()


def table(found: Sequence[Verdict]) -> str:
    """Count the kills: a row for each target and signal, a column for each phase."""
    struck = [verdict for verdict in found if verdict.phase]
    counts = Counter((f"{verdict.plan.target} {verdict.plan.how}", verdict.phase) for verdict in struck)
    rows = sorted({row for row, _ in counts})
    lines = [f"{'':20}" + "".join(f"{phase:>15}" for phase in (*PHASES, "all"))]
    for row in rows:
        numbers = [counts[row, phase] for phase in PHASES]
        lines.append(f"{row:20}" + "".join(f"{number:>15}" for number in (*numbers, sum(numbers))))
    numbers = [sum(counts[row, phase] for row in rows) for phase in PHASES]
    lines.append(f"{'all':20}" + "".join(f"{number:>15}" for number in (*numbers, sum(numbers))))
    for title, of in (("executor", "executor"), ("scope", "scope")):
        told = Counter(getattr(verdict.plan, of) for verdict in struck)
        lines.append(f"by {title}: " + ", ".join(f"{name} {count}" for name, count in sorted(told.items())))
    outcomes = Counter(verdict.outcome for verdict in struck)
    lines.append("the run: " + ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())))
    lines.append(f"came too late, and did not count: {len(found) - len(struck)}")
    lines.append(f"violations: {sum(bool(verdict.violations) for verdict in found)}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--target", choices=("emr", "emr-serverless"), default="emr")
    parser.add_argument(
        "--plan", action="append", default=[], help="a plan as it is printed, in the place of drawn ones"
    )
    parser.add_argument("--sabotage", default="", help="break the package so, and see that it is found (sabotage.py)")
    parser.add_argument("--logs", type=Path, help="a folder for all that is known of each violation")
    told = parser.parse_args(argv)
    plans = [Plan.parse(text) for text in told.plan]
    if told.sabotage:
        from tests.reliability import sabotage

        os.environ[sabotage.SABOTAGE] = told.sabotage
        sabotage.apply()
        plans = plans or [sabotage.SABOTAGES[told.sabotage][1]]
    serverless = told.target == "emr-serverless" or any(plan.scope == SERVERLESS for plan in plans)
    # before the pipeline is imported, here and by its workers
    os.environ["KILLS_RUNS_ON"] = "emr-serverless" if serverless else "emr"
    found: list[Verdict] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for verdict in verdicts(told.kills, told.seed, Path(folder), plans):
            found.append(verdict)
            what = f"{verdict.phase or 'too late'}: {verdict.outcome}"
            print(f"{len(found):4} {time.monotonic() - began:6.0f} s  {verdict.plan}  {what}", flush=True)
            for violation in verdict.violations:
                print(f"     VIOLATION  {violation}\n     again with  --plan '{verdict.plan}'", flush=True)
            if verdict.violations and told.logs:
                told.logs.mkdir(parents=True, exist_ok=True)
                (told.logs / f"{len(found)}.log").write_text("\n".join([str(verdict.plan), *verdict.log]))
    print(table(found))
    return int(any(verdict.violations for verdict in found))


if __name__ == "__main__":
    sys.exit(main())
