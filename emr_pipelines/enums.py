"""Enums whose members are texts."""

from __future__ import annotations

from enum import Enum


class TextEnum(str, Enum):
    """An enum whose members are equal to, and print as, their texts; enum.StrEnum came with Python 3.11."""

    def __str__(self) -> str:
        return str(self.value)
