"""Statements find their rows by indexes, also by a plan that was made while there were none.

PostgreSQL keeps a connection's plans until it has analyzed the tables, a minute or two after they begin to fill
(https://www.postgresql.org/docs/current/sql-prepare.html#SQL-PREPARE-NOTES). A plan for an empty table that reads all
of it would have a new store slow down with each event.
"""

import re
from collections.abc import Iterator
from types import ModuleType

import psycopg
import pytest
from sqlalchemy import TextClause

import webstore_chassis.consumer
import webstore_chassis.journal
import webstore_chassis.relay
import webstore_customer.store
import webstore_order.store
import webstore_product.store
import webstore_shopping_command.store
import webstore_shopping_query.store
from tests.databases import Databases

MODULES = {
    "customer": [webstore_customer.store],
    "product": [webstore_product.store],
    "order": [webstore_order.store],
    "shopping-command": [
        webstore_shopping_command.store,
        webstore_chassis.consumer,
        webstore_chassis.journal,
        webstore_chassis.relay,
    ],
    "shopping-query": [webstore_shopping_query.store],
}
# These are asked for all there is; and the relay's place is a table of one row.
WHOLE = {("customer", "_LIST"), ("product", "_LIST"), ("shopping-command", "_COUNT")}
ONE_ROW = "relay"
# Indexes of what waits to be done, and of nothing else.
WAITING = ("mail_waiting", "checkout_unfinished")


def statements() -> Iterator[tuple[str, str, TextClause]]:
    """Each statement of the services, with its service and name."""

    def found(module: ModuleType) -> Iterator[tuple[str, TextClause]]:
        for name, value in vars(module).items():
            if isinstance(value, TextClause):
                yield name, value
        if hasattr(module, "ReadModel"):
            yield from vars(module.ReadModel()).items()

    for service, modules in MODULES.items():
        for module in modules:
            for name, statement in found(module):
                if (service, name) not in WHOLE:
                    yield service, name, statement


@pytest.mark.parametrize(
    ("service", "statement"), [pytest.param(service, it, id=f"{service}{name}") for service, name, it in statements()]
)
def test_a_statement_finds_its_rows_by_an_index(databases: Databases, service: str, statement: TextClause) -> None:
    numbers: dict[str, int] = {}
    asked = re.sub(r"(?<!:):(\w+)", lambda name: f"${numbers.setdefault(name[1], len(numbers) + 1)}", str(statement))
    with psycopg.connect(databases.of(service)) as connection:
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN (GENERIC_PLAN) {asked}"))
    assert set(re.findall(r"Seq Scan on (\w+)", plan)) <= {ONE_ROW}, plan
    # An index may be read from its beginning to its end, too.
    nodes = re.split(r"\n(?= *-> )", plan)
    whole = [node for node in nodes if re.search(r"Index (Only )?Scan", node) and "Index Cond" not in node]
    assert all(re.search(rf" (using|on) ({'|'.join(WAITING)}) ", node) for node in whole), plan
