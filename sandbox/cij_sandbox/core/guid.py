"""GUIDs: read in the formats that .NET reads, stored and answered in lower case with dashes."""

from __future__ import annotations

import re

DASHED = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ANY = re.compile(rf"\{{{DASHED}\}}|\({DASHED}\)|{DASHED}|[0-9a-f]{{32}}", re.ASCII)
_STRICT = re.compile(DASHED, re.ASCII)
_PUNCTUATION = str.maketrans("", "", "{}()-")


def parse(text: str) -> str | None:
    """Read a GUID with dashes, in braces, in parentheses or of 32 digits; return None for anything else."""
    text = text.strip().lower()
    return from_bytes(bytes.fromhex(text.translate(_PUNCTUATION))) if _ANY.fullmatch(text) else None


def parse_strict(text: str) -> str | None:
    """Read the GUID of an OData literal, which has dashes; return None for anything else."""
    text = text.lower()
    return text if _STRICT.fullmatch(text) else None


def to_bytes(dashed: str) -> bytes:
    """Pack a dashed GUID into its 16 bytes."""
    return bytes.fromhex(dashed.replace("-", ""))


def from_bytes(packed: bytes) -> str:
    """Unpack 16 bytes into a dashed GUID."""
    digits = packed.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
