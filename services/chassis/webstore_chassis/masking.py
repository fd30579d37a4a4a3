"""What a log line must not show: personal data and secrets, found by the names of fields and by how they look."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "***"

# Text that may have blanks in it: where nothing encloses it, it goes on to the next mark, name or line.
_PROSE = r"phone|address|street|city|zip|post_?code|first_?name|last_?name|full_?name|passphrase"
_NAMES = rf"{_PROSE}|cookie|e_?mail|pass(?:word|wd)|secret|token|authorization|api_?key|credentials?"
# Looked at first, as trying each name at each place takes long.
_INITIALS = "".join(sorted({name[0] for name in _NAMES.split("|")}))
_NAMED = re.compile(rf"(?:.*_)?(?:{_NAMES})(?:_?(?:number|line|code))?s?", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _masked_key(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}" if _SUSPICIOUS.search(found[1].lower()) else found[0]


# Each takes a time that grows as the text does, no faster: what has been looked at is not tried again from its middle
# (a run of characters is begun at its start only), and not given back (the "possessive" ++ and *+). What is enclosed
# ends with the text where its end was cut off.
_TEXTS = (
    # e-mail addresses
    (re.compile(r"(?<![\w.+%-])[\w.+%-]++@[\w-]++\.[\w-](?:[.+%@-]*+\w)*+"), MASK),
    # PostgreSQL's details of a row, and of a key with such a column
    (re.compile(r"(Failing row contains )\((?:[^\n]*\)|[^\n]*)"), rf"\1{MASK}"),
    (re.compile(r"(Key \([^=\n]{1,200}+=)\((?:[^\n]*\)|[^\n]*)"), _masked_key),
    # Pydantic's
    (re.compile(r"(input_value=)[^\n]*?(?=, input_type=|$)", re.MULTILINE), rf"\1{MASK}"),
    # what follows a name that says what it is: email=…, "phoneNumber": "…", Authorization: Bearer …
    (
        re.compile(
            rf"""
            (?=[{_INITIALS}])
            ((?:(?P<prose>{_PROSE})|(?P<cookie>cookie)|{_NAMES})
             (?-i:(?<![a-z]city)(?<![A-Z]CITY))  # not "capacity"
             (?:_?(?:number|line|code))?s?\\*["']?\)?\s*+[:=]\s*+)
            (?:
                \([^)]*+\)? | \{{[^}}]*+\}}? | \[[^]]*+\]?
                # A quote within has more backslashes before it than the one that begins.
                | b?(?P<quote>\\*["'])(?:[^"'\\]++|(?!(?P=quote))\\*+.)*+(?P=quote)?
                | (?:(?:Bearer|Basic)\s++)?[^\s,;&}}\]"']++
                  (?(prose)(?:[ \t]++(?![\w.-]++\s*+[:=])[\w#][^\s,;&}}\]"']*+)*+)
                  (?(cookie)(?:;[ \t]*+[^\s,;&}}\]"']++)*+)
            )
            """,
            re.IGNORECASE | re.VERBOSE | re.DOTALL,
        ),
        rf"\g<1>{MASK}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s++[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    # JSON Web Tokens
    (re.compile(r"eyJ(?<!\weyJ)[\w-]{10,}+[\w.-]*+"), MASK),
    # passwords in URLs
    (re.compile(r"(://[^\s:/@]*+:)[^\s/]+@"), rf"\1{MASK}@"),
    # telephone numbers in their international form
    (re.compile(r"(?<![\w:+-])\+\d(?:[ ()/.-]{0,2}\d){6,14}\b"), MASK),
)
# Every pattern above needs one of these; most lines have none of them. For text in lower case: ignoring the case while
# searching takes three times as long.
_SUSPICIOUS = re.compile(rf"[@+]|eyj|://|bearer|basic|failing row|input_value|{_NAMES}")


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
    if _SUSPICIOUS.search(text.lower()):
        for pattern, replacement in _TEXTS:
            text = pattern.sub(replacement, text)
    return text
