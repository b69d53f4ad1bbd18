"""What EMR, EC2 and EMR Serverless allow as tags.

Sources: EMR Management Guide, "Restrictions that apply to tagging resources"; EMR Serverless API Reference,
TagResource.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from emr_pipelines.errors import InvalidValue

MAX_TAGS = 50
MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS = 128, 256
TAG_TEXT = re.compile(r"[\w\s.:/=+@-]*")


def tag_value(text: str) -> str:
    """Return a text as a tag's value: truncated, with a space for each character that EMR does not allow."""
    allowed = "".join(letter if TAG_TEXT.fullmatch(letter) else " " for letter in text)
    return allowed[:MAX_VALUE_CHARACTERS]


def ascii_tag_value(text: str) -> str:
    """Return a text as a tag's value on EMR Serverless, which allows letters of English only."""
    return tag_value("".join(letter if letter.isascii() else " " for letter in text))


def check_ascii_tags(tags: Mapping[str, str], most: int) -> None:
    """Raise InvalidValue for tags that EMR Serverless would refuse."""
    check_tags(tags, most)
    for key, value in tags.items():
        if not (key.isascii() and value.isascii()):
            raise InvalidValue(f"Tag {key}", value, "letters of English, digits, spaces and _ . : / = + - @")


def check_tags(tags: Mapping[str, str], most: int) -> None:
    """Raise InvalidValue for tags that EC2 would refuse."""
    if len(tags) > most:
        raise InvalidValue("The number of tags", len(tags), f"{most} or fewer")
    for key, value in tags.items():
        if not 1 <= len(key) <= MAX_KEY_CHARACTERS:
            raise InvalidValue("A tag's key", key, f"1 to {MAX_KEY_CHARACTERS} characters")
        if key.lower().startswith("aws:"):
            raise InvalidValue("A tag's key", key, "those that do not begin with aws:, which is AWS's own")
        if len(value) > MAX_VALUE_CHARACTERS:
            raise InvalidValue(f"The value of tag {key}", value, f"{MAX_VALUE_CHARACTERS} characters or fewer")
        if value.lower().startswith("aws:"):
            raise InvalidValue(
                f"The value of tag {key}", value, "those that do not begin with aws:, which is AWS's own"
            )
        if not (TAG_TEXT.fullmatch(key) and TAG_TEXT.fullmatch(value)):
            raise InvalidValue(f"Tag {key}", value, "letters, digits, spaces and _ . : / = + - @, in key and value")
