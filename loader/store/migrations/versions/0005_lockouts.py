"""What the throttle has locked."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lockout",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("company_id", sa.String(length=64), nullable=True),
        sa.Column("organizer_id", sa.String(length=64), nullable=True),
        sa.Column("conference_id", sa.String(length=64), nullable=False),
        sa.Column("switch", sa.String(length=80), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("unlocked_at", sa.Float(), nullable=True),
        sa.Column("unlocked_by", sa.String(length=64), nullable=True),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lockout")),
    )
    op.create_index("ix_lockout_company", "lockout", ["company_id", "until"], unique=False)
    op.create_index("ix_lockout_until", "lockout", ["until"], unique=False)
    op.create_index(op.f("ix_lockout_unlocked_at"), "lockout", ["unlocked_at"], unique=False)
    op.create_index(op.f("ix_lockout_key_id"), "lockout", ["key_id"], unique=False)
