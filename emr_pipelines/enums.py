"""Enums whose members are texts."""

from __future__ import annotations

from enum import Enum


class TextEnum(str, Enum):
    """An enum whose members are equal to, and print as, their texts; enum.StrEnum came with Python 3.11."""

    def __str__(self) -> str:
        return str(self.value)


class State(TextEnum):
    """A state in a service's own words; one that it added later is UNKNOWN, from which nothing is concluded."""

    @classmethod
    def _missing_(cls, value: object) -> State | None:  # noqa: ARG003 (as Enum has it)
        return cls.__members__.get("UNKNOWN")
