"""Customers, and the mails that tell them of their orders."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE customer (
            id text PRIMARY KEY,
            first_name text NOT NULL,
            last_name text NOT NULL,
            email text NOT NULL,
            phone_number text,
            address jsonb,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        CREATE INDEX customer_created_at ON customer (created_at, id);
        CREATE TABLE mail (
            order_id uuid PRIMARY KEY,
            customer_id text NOT NULL,
            lines jsonb NOT NULL,
            state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'undeliverable')),
            attempts integer NOT NULL DEFAULT 0,
            next_attempt_at timestamptz NOT NULL DEFAULT now(),
            last_error text
        );
        CREATE INDEX mail_waiting ON mail (next_attempt_at) WHERE state = 'waiting';
    """)
