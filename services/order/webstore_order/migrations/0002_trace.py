"""Which trace an order was made in: placing it goes on there."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE customer_order ADD COLUMN trace jsonb NOT NULL DEFAULT '{}'")
