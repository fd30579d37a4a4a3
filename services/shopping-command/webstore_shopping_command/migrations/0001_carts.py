"""The carts' journal, their snapshots, and the inbox."""

from alembic import op

from webstore_chassis.consumer import INBOX_SCHEMA_1 as INBOX
from webstore_chassis.journal import SCHEMA_1 as JOURNAL

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(JOURNAL)
    op.execute(INBOX)
    op.execute("""
        CREATE TABLE snapshot (
            stream text PRIMARY KEY,
            version integer NOT NULL,
            state jsonb NOT NULL
        );
    """)
