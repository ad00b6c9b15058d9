"""Who joined: occurrences of conferences, their calls, and how far each daemon's journal has come."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "occurrence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("conference_id", sa.String(length=64), nullable=False),
        sa.Column("company_id", sa.String(length=64), nullable=False),
        sa.Column("organizer_id", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("present", sa.Integer(), nullable=False),
        sa.Column("admitted", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("sent_to", sa.String(length=200), nullable=True),
        sa.Column("send_asked_at", sa.Float(), nullable=True),
        sa.Column("send_claimed_at", sa.Float(), nullable=True),
        sa.Column("send_next_at", sa.Float(), nullable=True),
        sa.Column("send_attempts", sa.Integer(), nullable=True),
        sa.Column("send_failed", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_occurrence")),
    )
    op.create_index("ix_occurrence_send", "occurrence", ["send_asked_at"], unique=False)
    op.create_index("ix_occurrence_conference", "occurrence", ["conference_id", "ended_at"], unique=False)
    op.create_index("ix_occurrence_company", "occurrence", ["company_id", "started_at"], unique=False)
    op.create_index("ix_occurrence_organizer", "occurrence", ["organizer_id", "started_at"], unique=False)
    op.create_index("ix_occurrence_on", "occurrence", ["ended_at", "last_at"], unique=False)
    op.create_table(
        "call",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("occurrence_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=80), nullable=False),
        sa.Column("call_id", sa.String(length=128), nullable=True),
        sa.Column("verification_id", sa.String(length=64), nullable=False),
        sa.Column("door", sa.String(length=16), nullable=False),
        sa.Column("admitted_at", sa.Float(), nullable=False),
        sa.Column("joined_at", sa.Float(), nullable=True),
        sa.Column("left_at", sa.Float(), nullable=True),
        sa.Column("ended", sa.String(length=16), nullable=True),
        sa.Column("person", sa.LargeBinary(length=16), nullable=True),
        sa.Column("person_key_id", sa.String(length=16), nullable=True),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["occurrence_id"], ["occurrence.id"], name=op.f("fk_call_occurrence_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call")),
        sa.UniqueConstraint("verification_id", name=op.f("uq_call_verification_id")),
    )
    op.create_index(op.f("ix_call_occurrence_id"), "call", ["occurrence_id"], unique=False)
    op.create_index(op.f("ix_call_key_id"), "call", ["key_id"], unique=False)
    op.create_index("ix_call_known", "call", ["call_id", "source"], unique=False)
    op.create_index("ix_call_open", "call", ["ended", "admitted_at"], unique=False)
    op.create_table(
        "journal",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
    )
    op.create_table(
        "company_choice",
        sa.Column("company_id", sa.String(length=64), nullable=False),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.Column("dial_in", sa.Text(), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=False),
        sa.Column("webhook_secret", sa.LargeBinary(), nullable=True),
        sa.Column("webhook_key_id", sa.String(length=16), nullable=True),
        sa.Column("webhook_stopped_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_company_choice_company_id")),
        sa.PrimaryKeyConstraint("company_id", name=op.f("pk_company_choice")),
    )
    op.create_table(
        "organizer_choice",
        sa.Column("organizer_id", sa.String(length=64), nullable=False),
        sa.Column("send_roll", sa.Boolean(), nullable=False),
        sa.Column("chosen_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["organizer_id"], ["organizer.id"], name=op.f("fk_organizer_choice_organizer_id")),
        sa.PrimaryKeyConstraint("organizer_id", name=op.f("pk_organizer_choice")),
    )
    op.create_table(
        "conference_date",
        sa.Column("conference_id", sa.String(length=64), nullable=False),
        sa.Column("starts_at", sa.Float(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["conference_id"], ["conference.id"], name=op.f("fk_conference_date_conference_id")),
        sa.PrimaryKeyConstraint("conference_id", name=op.f("pk_conference_date")),
    )
    op.create_table(
        "invitation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("conference_id", sa.String(length=64), nullable=False),
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=64), nullable=False),
        sa.Column("person", sa.LargeBinary(length=16), nullable=False),
        sa.Column("queued_by", sa.String(length=64), nullable=False),
        sa.Column("queued_at", sa.Float(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_at", sa.Float(), nullable=True),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("failed", sa.String(length=200), nullable=True),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
    )
    op.create_index("ix_invitation_conference", "invitation", ["conference_id", "queued_at"], unique=False)
    op.create_index("ix_invitation_waiting", "invitation", ["sent_at", "failed", "next_at"], unique=False)
    op.create_index(op.f("ix_invitation_claimed_at"), "invitation", ["claimed_at"], unique=False)
    op.create_index(op.f("ix_invitation_key_id"), "invitation", ["key_id"], unique=False)
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("company_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("about", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.Column("leased_until", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.Column("answer", sa.String(length=16), nullable=True),
        sa.Column("key_id", sa.String(length=16), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_delivery")),
    )
    op.create_index("ix_webhook_delivery_company", "webhook_delivery", ["company_id", "next_at"], unique=False)
    op.create_index("ix_webhook_delivery_newest", "webhook_delivery", ["company_id", "id"], unique=False)
    op.create_index("ix_webhook_delivery_about", "webhook_delivery", ["about", "id"], unique=False)
    op.create_index(op.f("ix_webhook_delivery_key_id"), "webhook_delivery", ["key_id"], unique=False)
