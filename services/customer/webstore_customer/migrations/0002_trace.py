"""Which trace a mail belongs to: it is sent later than its order's event is handled."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE mail ADD COLUMN trace jsonb NOT NULL DEFAULT '{}'")
