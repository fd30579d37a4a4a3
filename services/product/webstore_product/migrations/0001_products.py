"""Products and reservations."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE product (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            product_number text NOT NULL UNIQUE,
            name text NOT NULL,
            description text NOT NULL,
            price numeric(12, 2) NOT NULL CHECK (price >= 0),
            stock integer NOT NULL CHECK (stock >= 0)
        );
        CREATE TABLE reservation (
            order_id uuid PRIMARY KEY,
            attempt integer NOT NULL,
            lines jsonb NOT NULL,
            settled boolean NOT NULL DEFAULT false,
            reserved_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX reservation_reserved_at ON reservation (settled, reserved_at);
    """)
