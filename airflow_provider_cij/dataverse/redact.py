"""Secrets, people and control characters, struck from errors and log lines."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

from airflow_provider_cij._lines import one_line
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.dataverse.texts import shortened

# Shorter secrets are not struck: they occur in any text.
_SHORTEST = 4
_MAX_TOKENS = 50
# Characters of a text that are searched.
_LONGEST_READ = 20_000
# The letters of a shorter secret could meet by chance once blanks and tags between them are removed.
_LONG_ENOUGH = 12
_BETWEEN = re.compile(r"<[^<>]{0,200}>|[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffd]")
_GUID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])")
# Anchored at the start of a word: otherwise each letter of a long word would be tried.
_ADDRESS = re.compile(r"(?<![^\s\"'<>()\[\]{},;:=@/?&])[^\s\"'<>()\[\]{},;:=@/?&]+(?:@|%40)[^\s\"'<>()\[\]{},;:=@/?&]+")
_PERSON = re.compile(r"\b(contacts|leads|accounts)\([^)]{0,300}\)")
# What looks like a secret, known or not: a bearer token, a JWT, a PEM block, a field of a login form.
_SECRET_LIKE = re.compile(
    r"(?<=bearer )[\w.~+/=-]{8,}"
    r"|eyJ[\w-]{6,}(?:\.[\w-]*){0,4}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=client_secret=)[^&\s\"']+|(?<=client_assertion=)[^&\s\"']+|(?<=access_token=)[^&\s\"']+",
    re.IGNORECASE | re.DOTALL,
)
_LIBRARIES = ("msal", "airflow_provider_cij")

_lock = threading.Lock()
_secrets: dict[str, None] = {}
_tokens: dict[str, None] = {}
_forms_known: tuple[str, ...] = ()


def register_secrets(settings: Settings, *others: str) -> None:
    """Register the secrets of a connection. From now on they are struck from errors and logs.

    :param settings: the connection
    :param others: secrets from elsewhere, such as a managed identity's header
    """
    key = settings.certificate_private_key
    lines = [line.strip() for line in key.splitlines() if len(line.strip()) >= 16 and "-----" not in line]
    secrets = (settings.client_secret, settings.private_key_passphrase, key, *lines, *others)
    _add(_secrets, secrets, None)


def register_tokens(*tokens: str) -> None:
    """Register tokens and assertions to be struck. The process keeps the newest 50.

    :param tokens: access tokens, or the assertions that they are requested with
    """
    _add(_tokens, tokens, _MAX_TOKENS)


def _add(where: dict[str, None], texts: tuple[str, ...], most: int | None) -> None:
    global _forms_known
    with _lock:
        new = [text for text in texts if len(text) >= _SHORTEST and text not in where]
        if not new:
            return
        where.update(dict.fromkeys(new))
        while most is not None and len(where) > most:
            del where[next(iter(where))]
        forms = {form for text in (*_secrets, *_tokens) for form in _forms(text) if len(form) >= _SHORTEST}
        _forms_known = tuple(sorted(forms, key=len, reverse=True))


def _forms(secret: str) -> Iterator[str]:
    """Yield the forms in which a server may write a secret back."""
    raw = secret.encode("utf-8", "replace")
    yield from (secret, secret.strip(), html.escape(secret), repr(secret)[1:-1])
    for ascii_only in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        within = json.dumps(escaped, ensure_ascii=ascii_only)[1:-1]  # JSON in a string
        yield from (escaped, escaped.replace("/", r"\/"), within)
    for coded in (quote(raw, safe=""), quote(raw), quote_plus(raw), quote(quote_plus(raw)), quote(quote(raw, safe=""))):
        yield coded
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), coded)
    # In base64 a text has three forms, by its offset in what surrounds it; characters at its ends hold bits of both.
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode().rstrip("=")
        for before in range(3):
            whole = encode(b"x" * before + raw).decode().rstrip("=")
            inner = whole[(0, 2, 3)[before] : len(whole) - 1]
            if len(inner) >= 8:
                yield inner


def strike_secrets(text: str) -> str:
    """Return a text in which registered secrets, and what looks like a secret, are replaced by ``***``.

    :param text: any text
    :return: the text; or a note in its place when a secret is spread over it, with blanks or tags between its letters
    """
    # The longest first: striking a short secret that stands in a long one would hide that the rest belongs to it.
    long = [form for form in _forms_known if len(form) >= _LONG_ENOUGH]
    for form in long:
        text = text.replace(form, "***")
    squeezed = _BETWEEN.sub("", html.unescape(_SECRET_LIKE.sub("***", text)[:_LONGEST_READ]))
    if any(form in squeezed for form in long):
        return "… (withheld: it repeats a secret)"
    for form in _forms_known[len(long) :]:
        text = text.replace(form, "***")
    return _SECRET_LIKE.sub("***", text)


def without_people(text: str, known: Callable[[str], bool] = lambda _: False) -> str:
    """Return a text in which e-mail addresses and ids are replaced by an ellipsis.

    :param text: a server's message
    :param known: returns whether an id, in lower case and dashed or not, is of no person and stays; by default none is
    """
    text = _ADDRESS.sub("…", text)
    return _GUID.sub(lambda found: found[0] if known(found[0].lower()) else "…", text)


def without_person(path: str) -> str:
    """Return a path in which the id of a contact, lead or account is an ellipsis: ``contacts(…)``.

    :param path: a path of the Web API
    """
    return _PERSON.sub(r"\1(…)", path)


def words_of(text: str, known: Callable[[str], bool] = lambda _: False) -> str:
    """Return a server's message fit for errors and logs: without secrets and people, on one line, 1000 characters.

    :param text: a server's message
    :param known: returns whether an id, in lower case and dashed or not, is of no person and stays; by default none is
    """
    # Secrets first: cutting could leave a part of one, which would not be found.
    return shortened(one_line(without_people(strike_secrets(text)[:_LONGEST_READ], known)))


def ids_in(text: str) -> frozenset[str]:
    """Return the ids in a text, in lower case.

    :param text: any text
    """
    return frozenset(found.lower() for found in _GUID.findall(text))


def _redact(record: logging.LogRecord) -> bool:
    try:
        message = record.getMessage()
    except Exception:  # logging reports a broken call itself
        return True
    name = record.name.partition(".")[0]
    shown = strike_secrets(message)
    if name == "msal":
        shown = without_people(shortened(shown))
    shown = one_line(shown)
    if shown != message:
        record.msg, record.args = shown, ()
    if record.exc_info and name != "airflow_provider_cij":
        record.exc_info, record.exc_text = None, None
    return True


def redact_logs() -> None:
    """Strike secrets and people from what msal and this package log.

    Idempotent. Call it again to reach loggers that were created since.
    """
    for name in [*_LIBRARIES, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] in _LIBRARIES:
            logging.getLogger(name).addFilter(_redact)
