"""Generates tables of the command line's options and the emulator's faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import click

from docs.tables import code, shown, table
from emr_emulator.cli import main as emulate
from emr_emulator.faults import KINDS, Fault
from emr_pipelines.cli import main


def parts() -> dict[str, Callable[[], str]]:
    found: dict[str, Callable[[], str]] = {
        f"options of {name}": _options(command) for name, command in _leaves("emr-pipelines", main)
    }
    found["options of emr-pipelines emulator"] = _options(emulate)
    return {**found, "faults": faults}


def _leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from _leaves(f"{name} {word}", inner)


def _options(command: click.Command) -> Callable[[], str]:
    def made() -> str:
        rows = []
        for parameter in command.params:
            if parameter.is_eager:
                continue  # --help, --version
            if isinstance(parameter, click.Option):
                switch = parameter.is_flag or parameter.count
                metavar = "" if switch else f" {parameter.metavar or parameter.type.name.upper()}"
                default = "" if switch or not isinstance(parameter.default, (int, float, str)) else parameter.default
                rows.append((code(", ".join(parameter.opts) + metavar), code(str(default)), parameter.help or ""))
            else:
                rows.append((code(parameter.human_readable_name.upper()), "", _what(parameter)))
        return table(("option", "default", "what it does"), rows)

    return made


def _what(argument: click.Parameter) -> str:
    return "The ids of what the command's group is about." if argument.nargs == -1 else "An id."


def faults() -> str:
    """Return the table of the emulator's faults, with their members, defaults and effects."""
    common = set(Fault.model_fields) | {"fault"}
    rows = []
    for name, kind in KINDS.items():
        members = [
            code(f"{member}: {shown(field.default)}{_choices(field.annotation)}")
            for member, field in kind.model_fields.items()
            if member not in common
        ]
        rows.append((code(name), ", ".join(members), " ".join((kind.__doc__ or "").split())))
    return table(("fault", "its members, with their defaults", "what happens"), rows)


def _choices(annotation: object) -> str:
    others = [str(choice) for choice in get_args(annotation)[1:] if isinstance(choice, str)]
    return f" (or {', '.join(others)})" if others else ""
