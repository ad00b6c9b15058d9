"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "change",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("committed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_change")),
        sa.UniqueConstraint("position", name=op.f("uq_change_position")),
    )
    op.create_table(
        "company",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_company")),
    )
    op.create_table(
        "daemon_state",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("applied_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_daemon_state")),
    )
    op.create_table(
        "feed",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed")),
    )
    op.create_table(
        "key_in_use",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_in_use")),
    )
    op.create_table(
        "pin_list",
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("level", "owner_id", name=op.f("pk_pin_list")),
    )
    op.create_table(
        "switch",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_switch")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_switch_token_hash")),
    )
    op.create_table(
        "authorization_code",
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("company_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_authorization_code_company_id")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_authorization_code")),
    )
    op.create_index(op.f("ix_authorization_code_company_id"), "authorization_code", ["company_id"], unique=False)
    op.create_table(
        "list_revision",
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["level", "owner_id"], ["pin_list.level", "pin_list.owner_id"], name="fk_list_revision"
        ),
        sa.PrimaryKeyConstraint("level", "owner_id", "revision", name=op.f("pk_list_revision")),
    )
    op.create_index(op.f("ix_list_revision_key_id"), "list_revision", ["key_id"], unique=False)
    op.create_table(
        "list_part",
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["level", "owner_id", "revision"],
            ["list_revision.level", "list_revision.owner_id", "list_revision.revision"],
            name="fk_list_part",
        ),
        sa.PrimaryKeyConstraint("level", "owner_id", "revision", "part", name=op.f("pk_list_part")),
    )
    op.create_table(
        "organizer",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("company_id", sa.String(length=64), nullable=False),
        sa.Column("authorization_code", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["authorization_code"], ["authorization_code.code"], name=op.f("fk_organizer_authorization_code")
        ),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_organizer_company_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizer")),
    )
    op.create_index(op.f("ix_organizer_authorization_code"), "organizer", ["authorization_code"], unique=False)
    op.create_index(op.f("ix_organizer_company_id"), "organizer", ["company_id"], unique=False)
    op.create_table(
        "app_user",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("company_id", sa.String(length=64), nullable=True),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=200), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("organizer_id", sa.String(length=64), nullable=True),
        sa.Column("authorization_code", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["authorization_code"], ["authorization_code.code"], name=op.f("fk_app_user_authorization_code")
        ),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_app_user_company_id")),
        sa.ForeignKeyConstraint(["organizer_id"], ["organizer.id"], name=op.f("fk_app_user_organizer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_user")),
    )
    op.create_index(op.f("ix_app_user_company_id"), "app_user", ["company_id"], unique=False)
    op.create_table(
        "conference",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organizer_id", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("passcode", sa.String(length=32), nullable=False),
        sa.Column("pin_entry", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["organizer_id"], ["organizer.id"], name=op.f("fk_conference_organizer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conference")),
        sa.UniqueConstraint("passcode", name=op.f("uq_conference_passcode")),
    )
    op.create_index(op.f("ix_conference_organizer_id"), "conference", ["organizer_id"], unique=False)
    op.execute(sa.text("INSERT INTO feed (id, position) VALUES (1, 0)"))
