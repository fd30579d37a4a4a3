"""The read model in a schema of its own, so that a rebuilt one can take its place; checkouts and their journal."""

from alembic import op

from webstore_chassis.journal import SCHEMA_1 as JOURNAL
from webstore_shopping_query.store import READ_MODEL_1

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(READ_MODEL_1.format(schema="read_model"))
    op.execute("""
        CREATE TABLE checkout (
            stream text NOT NULL,
            cart_version integer NOT NULL,
            customer_id text NOT NULL,
            cart_number text NOT NULL,
            lines jsonb NOT NULL,
            order_id text,
            begun_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (stream, cart_version)
        );
        CREATE UNIQUE INDEX checkout_unfinished ON checkout (stream) WHERE order_id IS NULL;
    """)
    op.execute(JOURNAL)
