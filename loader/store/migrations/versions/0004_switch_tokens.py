"""A switch may have several tokens, each with its end; where it may ask from, and how often."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    known = sa.table("switch", sa.column("id"), sa.column("token_hash"), sa.column("created_at"))
    switches = op.get_bind().execute(sa.select(known)).all()
    # Made anew, as SQLite cannot take away a column that is unique. Nothing refers to this table.
    op.drop_table("switch")
    switch = op.create_table(
        "switch",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_switch")),
    )
    token = op.create_table(
        "switch_token",
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("switch_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["switch_id"], ["switch.id"], name=op.f("fk_switch_token_switch_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_switch_token")),
    )
    op.create_index(op.f("ix_switch_token_switch_id"), "switch_token", ["switch_id"], unique=False)
    op.bulk_insert(switch, [{"id": one.id, "created_at": one.created_at, "networks": ""} for one in switches])
    op.bulk_insert(
        token, [{"hash": one.token_hash, "switch_id": one.id, "created_at": one.created_at} for one in switches]
    )
