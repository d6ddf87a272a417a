"""What must not be read in an error or a log line is struck: secrets, people, what steers a log viewer."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus, urlsplit

from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.dataverse.texts import one_line, shortened

_SHORTEST = 4
_MOST_TOKENS = 50
_LONGEST_READ = 20_000
# Of a shorter one the letters could meet by chance.
_LONG_ENOUGH = 12
_BETWEEN = re.compile(r"<[^<>]{0,200}>|[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffd]")
_GUID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])")
# From the start of a word on: from within, each of a long word's letters would be tried.
_ADDRESS = re.compile(r"(?<![^\s\"'<>()\[\]{},;:=@/?&])[^\s\"'<>()\[\]{},;:=@/?&]+(?:@|%40)[^\s\"'<>()\[\]{},;:=@/?&]+")
_PERSON = re.compile(r"\b(contacts|leads|accounts)\([^)]{0,300}\)")
# Whatever the secret: a bearer token, a JWT, a PEM block, a field of a login form.
_SECRET_LIKE = re.compile(
    r"(?<=bearer )[\w.~+/=-]{8,}"
    r"|eyJ[\w-]{6,}(?:\.[\w-]*){0,4}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=client_secret=)[^&\s\"']+|(?<=client_assertion=)[^&\s\"']+|(?<=access_token=)[^&\s\"']+",
    re.IGNORECASE | re.DOTALL,
)
_HEADERS = re.compile(r"\[\(b['\"].*\]", re.DOTALL)
# An address in a log line of httpx ends before the status in double quotes, and may have blanks in it.
_QUERY = re.compile(r"\?[^\"\n]*(?= \"|$)")
_LIBRARIES = ("httpx", "httpcore", "msal", "airflow_provider_cij")

_lock = threading.Lock()
_secrets: dict[str, None] = {}
_tokens: dict[str, None] = {}
_hosts: set[str] = set()
_forms_known: tuple[str, ...] = ()


def remember(settings: Settings, *others: str) -> None:
    """Register the secrets of a connection, so that they are struck from now on.

    :param settings: the connection
    :param others: secrets that come from elsewhere, such as a managed identity's header
    """
    key = settings.certificate_private_key
    lines = [line.strip() for line in key.splitlines() if len(line.strip()) >= 16 and "-----" not in line]
    secrets = (settings.client_secret, settings.private_key_passphrase, key, *lines, *others)
    _hosts.update(host for url in (settings.base_url, settings.login_url) if (host := urlsplit(url).netloc.lower()))
    _add(_secrets, secrets, None)


def remember_token(*tokens: str) -> None:
    """Register tokens and assertions to be struck; the newest of the process are known."""
    _add(_tokens, tokens, _MOST_TOKENS)


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
    # In base64 a text looks different at each of three places in what surrounds it; the ends belong to both.
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode().rstrip("=")
        for before in range(3):
            whole = encode(b"x" * before + raw).decode().rstrip("=")
            inner = whole[(0, 2, 3)[before] : len(whole) - 1]
            if len(inner) >= 8:
                yield inner


def struck(text: str) -> str:
    """Return a text without known secrets and what looks like one."""
    for form in _forms_known:
        if form in text:
            text = text.replace(form, "***")
    text = _SECRET_LIKE.sub("***", text)
    # Folded at some column, spaced out, or with tags between.
    squeezed = _BETWEEN.sub("", html.unescape(text[:_LONGEST_READ]))
    parted = any(form in squeezed for form in _forms_known if len(form) >= _LONG_ENOUGH)
    return "… (withheld: it repeats a secret)" if parted else text


def without_people(text: str, known: Callable[[str], bool] = lambda _: False) -> str:
    """Return a text without e-mail addresses and ids.

    :param text: a server's words
    :param known: tells of an id, in lower case and dashed or not, that it is of no person
    """
    text = _ADDRESS.sub("…", text)
    return _GUID.sub(lambda found: found[0] if known(found[0].lower()) else "…", text)


def without_person(path: str) -> str:
    """Return a path without the id of a row of people: ``contacts(…)``."""
    return _PERSON.sub(r"\1(…)", path)


def words_of(text: str, known: Callable[[str], bool] = lambda _: False) -> str:
    """Return a server's words fit for errors and logs: no secrets, no people, one line, not too long.

    :param text: a server's words
    :param known: as in ``without_people``
    """
    # Secrets first: of one that is cut, a part would be left.
    return shortened(one_line(without_people(struck(text)[:_LONGEST_READ], known)))


def ids_in(text: str) -> frozenset[str]:
    """Return the ids in a text, in lower case."""
    return frozenset(found.lower() for found in _GUID.findall(text))


def _clean(record: logging.LogRecord) -> bool:
    try:
        told = record.getMessage()
    except Exception:  # a broken call of logging, which logging itself reports
        return True
    name = record.name.partition(".")[0]
    # The query first: striking in it could leave a part that no longer looks like one.
    said = told
    if name in ("httpx", "httpcore") and any(host in said.lower() for host in _hosts):
        said = without_people(without_person(_QUERY.sub("", said)), bool)
    said = struck(said)
    if name == "httpcore":
        said = _HEADERS.sub("[…]", said)
    if name == "msal":
        said = without_people(shortened(said))
    said = one_line(said)
    if said != told:
        record.msg, record.args = said, ()
    if record.exc_info and name != "airflow_provider_cij":
        record.exc_info, record.exc_text = None, None
    return True


def clean_logs() -> None:
    """Clean what httpx, httpcore, msal and this package log. Calling it again reaches loggers made meanwhile."""
    for name in [*_LIBRARIES, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] in _LIBRARIES:
            logging.getLogger(name).addFilter(_clean)
