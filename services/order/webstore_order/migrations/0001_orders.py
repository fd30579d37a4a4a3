"""Orders, and their journal."""

from alembic import op

from webstore_chassis.journal import SCHEMA_1 as JOURNAL

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE customer_order (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            customer_id text NOT NULL,
            status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PLACED')),
            lines jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            attempt integer NOT NULL DEFAULT 0,
            idempotency_key text,
            UNIQUE (customer_id, idempotency_key)
        );
        CREATE INDEX customer_order_of_customer ON customer_order (customer_id, created_at);
    """)
    op.execute(JOURNAL)
