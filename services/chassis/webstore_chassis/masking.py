"""What a log line must not show: personal data and secrets, found by the names of fields and by how they look."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "***"

_NAMES = (
    r"e_?mail|phone|address|street|zip|post_?code|first_?name|last_?name|full_?name|"
    r"pass(?:word|wd|phrase)|secret|token|authorization|cookie|api_?key|credentials?"
)
_NAMED = re.compile(rf"(?:.*_)?(?:{_NAMES})(?:_?(?:number|line|code))?s?", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TEXTS = (
    # e-mail addresses
    (re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"), MASK),
    # what follows a name that says what it is: email=…, "phoneNumber": "…", Authorization: Bearer …
    (
        re.compile(
            rf"""(\b[\w-]*(?:{_NAMES})(?:_?(?:number|line|code))?s?\\?["']?\)?\s*[:=]\s*)"""
            r"""(?:\((?P<round>[^)]*)\)|\\?"[^"]*"|\\?'[^']*'|\{[^}]*\}|(?:(?:Bearer|Basic)\s+)?[^\s,;&}\]"']+)""",
            re.IGNORECASE,
        ),
        rf"\g<1>{MASK}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    # JSON Web Tokens
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), MASK),
    # passwords in URLs
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+@", re.IGNORECASE), rf"\1{MASK}@"),
    # telephone numbers in their international form
    (re.compile(r"(?<![\w:+-])\+\d(?:[ ()/.-]{0,2}\d){6,14}\b"), MASK),
)
# Every pattern above needs one of these; most lines have none of them.
_SUSPICIOUS = re.compile(rf"[@+]|eyJ|://|bearer|basic|{_NAMES}", re.IGNORECASE)


def masked(value: Any, name: str = "") -> Any:
    """A value as a log line may show it.

    Args:
        name: what the value is called, where it has a name.
    """
    if name and _is_personal(name[:100]):
        return MASK
    if isinstance(value, str):
        return _short_text(value) if len(value) < 100 else _text(value)
    if isinstance(value, Mapping):
        return {str(key): masked(each, str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [masked(each) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _text(str(value))


@lru_cache(maxsize=1000)
def _is_personal(name: str) -> bool:
    return _NAMED.fullmatch(_CAMEL.sub("_", name).replace("-", "_")) is not None


# Most short texts come again and again: methods, routes, "GET /order 200".
@lru_cache(maxsize=1000)
def _short_text(text: str) -> str:
    return _text(text)


def _text(text: str) -> str:
    if _SUSPICIOUS.search(text):
        for pattern, replacement in _TEXTS:
            text = pattern.sub(replacement, text)
    return text
