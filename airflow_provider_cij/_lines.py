"""Text becomes one line that no log viewer takes for its own. Pure."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_COMMAND = re.compile(r"::(?=[a-z][ \w=,.-]*::)", re.IGNORECASE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def cleaned(text: str) -> str:
    """Replace what no database stores: NUL and halves of surrogate pairs."""
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Remove control characters and the commands that log viewers follow (``::group::``)."""
    return _COMMAND.sub(": :", _CONTROL.sub(" ", cleaned(text))).strip()
