"""As much of Prometheus's language as the rules and the dashboard use, to find what they ask for and what is no
expression (https://prometheus.io/docs/prometheus/latest/querying/basics/).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-zA-Z_:][\w:]*)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<range>\[[^]]*\])"""
    r"""|(?P<mark>=~|!~|!=|==|>=|<=|[-+*/><={}(),]))"""
)
_RANGE = re.compile(r"\[(?:\d+(?:ms|[smhdwy])|\$__rate_interval|\$__range)\]")
_AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk"}
_FUNCTIONS = {"rate", "increase", "histogram_quantile"}
_OF_RANGES = {"rate", "increase"}
_OPERATORS = {"+", "-", "*", "/", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"}


class NotPromQL(Exception):
    """Prometheus would refuse it."""


@dataclass
class Selector:
    """Series that an expression asks for.

    Args:
        matchers: label, operator, value.
        function: what takes a range of them.
        grouped: labels that what is around it groups them by.
    """

    metric: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)
    function: str = ""
    grouped: set[str] = field(default_factory=set)


def selectors(expression: str) -> list[Selector]:
    """All that an expression asks for.

    Raises:
        NotPromQL: it is none.
    """
    parser = _Parser(expression)
    found = parser.expression()
    if parser.kind:
        raise NotPromQL(f"{parser.token!r} is left over in {expression!r}")
    return found


class _Parser:
    def __init__(self, expression: str) -> None:
        self._text = expression
        self._tokens = self._split()
        self._advance()

    def _split(self) -> Iterator[tuple[str, str]]:
        place, end = 0, len(self._text.rstrip())
        while place < end:
            found = _TOKEN.match(self._text, place)
            if not found:
                raise NotPromQL(f"not a token: {self._text[place:]!r}")
            yield str(found.lastgroup), found[str(found.lastgroup)]
            place = found.end()

    def _advance(self) -> None:
        self.kind, self.token = next(self._tokens, ("", ""))

    def _take(self, *wanted: str, kind: str = "mark") -> str:
        token = self.token
        if self.kind != kind or (wanted and token not in wanted):
            raise NotPromQL(f"{token!r} is not {' or '.join(wanted) or f'a {kind}'} in {self._text!r}")
        self._advance()
        return token

    def expression(self) -> list[Selector]:
        found = self._operand()
        while self.token in _OPERATORS:
            self._advance()
            found += self._operand()
        return found

    def _operand(self) -> list[Selector]:
        if self.kind == "number":
            self._advance()
            return []
        if self.token == "(":
            self._advance()
            found = self.expression()
            self._take(")")
            return found
        name = self._take(kind="name")
        if name in _AGGREGATIONS:
            return self._aggregation()
        if name in _FUNCTIONS:
            return self._arguments(name)
        return [self._selector(name)]

    def _aggregation(self) -> list[Selector]:
        labels: set[str] = set()
        if self.token == "by":
            self._advance()
            self._take("(")
            labels.add(self._take(kind="name"))
            while self._take(",", ")") == ",":
                labels.add(self._take(kind="name"))
        found = self._arguments("")
        for selector in found:
            selector.grouped |= labels
        return found

    def _arguments(self, function: str) -> list[Selector]:
        self._take("(")
        found = self.expression()
        while self.token == ",":
            self._advance()
            found += self.expression()
        if function in _OF_RANGES:
            if not _RANGE.fullmatch(self.token):
                raise NotPromQL(f"{function} is of a range, and not of {self.token!r}, in {self._text!r}")
            self._advance()
            (selector,) = found
            selector.function = function
        self._take(")")
        return found

    def _selector(self, metric: str) -> Selector:
        selector = Selector(metric)
        if self.token == "{":
            self._advance()
            while self.token != "}":
                label, operator = self._take(kind="name"), self._take("=", "!=", "=~", "!~")
                selector.matchers.append((label, operator, self._take(kind="text")[1:-1]))
                if self.token != "}":
                    self._take(",")
            self._advance()
        return selector
