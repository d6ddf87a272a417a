"""Text made safe for one line of a log. Pure."""

from __future__ import annotations

import re

# Compiled at their first use: every DAG file imports this module.
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+"
_COMMAND = r"(?i)::(?=[a-z][ \w=,.-]*::)"
_UNSTORABLE = "[\x00\ud800-\udfff]"


def cleaned(text: str) -> str:
    """Return a text in which NUL and halves of surrogate pairs, which no database stores, are U+FFFD.

    :param text: any text
    """
    return text if text.isascii() and "\x00" not in text else re.sub(_UNSTORABLE, "\ufffd", text)


def one_line(text: str) -> str:
    """Return a text on one line, without control characters and without the commands of log viewers (``::group::``).

    :param text: any text
    """
    return re.sub(_COMMAND, ": :", re.sub(_CONTROL, " ", cleaned(text))).strip()
