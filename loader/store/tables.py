"""The tables. Times are seconds since 1970 UTC."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from loader.model import Level

SCHEMA_VERSION: Final = "0006"
"""The newest migration: the schema that this program reads and writes."""

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

company = Table(
    "company",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
)

authorization_code = Table(
    "authorization_code",
    metadata,
    Column("code", String(32), primary_key=True),
    Column("company_id", ForeignKey("company.id"), nullable=False, index=True),
    Column("label", String(200), nullable=False),
)

organizer = Table(
    "organizer",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("company_id", ForeignKey("company.id"), nullable=False, index=True),
    Column("authorization_code", ForeignKey("authorization_code.code"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("email", String(200), nullable=False),
)

conference = Table(
    "conference",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("organizer_id", ForeignKey("organizer.id"), nullable=False, index=True),
    Column("title", String(200), nullable=False),
    Column("passcode", String(32), nullable=False, unique=True),
    Column("pin_entry", Boolean, nullable=False),
)

# `user` is a reserved word in PostgreSQL.
app_user = Table(
    "app_user",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("company_id", ForeignKey("company.id"), index=True),
    Column("role", String(32), nullable=False),
    Column("name", String(200), nullable=False),
    Column("email", String(200), nullable=False),
    Column("language", String(8)),
    Column("organizer_id", ForeignKey("organizer.id")),
    Column("authorization_code", ForeignKey("authorization_code.code")),
)

switch = Table(
    "switch",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("networks", Text, nullable=False),
    Column("rate", Integer),
)

# A switch has one token that never expires, its newest, and for a while perhaps the one before.
switch_token = Table(
    "switch_token",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("switch_id", ForeignKey("switch.id"), nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
)

# The list in force of each owner is its current revision.
pin_list = Table(
    "pin_list",
    metadata,
    Column("level", String(32), primary_key=True),
    Column("owner_id", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
)

list_revision = Table(
    "list_revision",
    metadata,
    Column("level", String(32), primary_key=True),
    Column("owner_id", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("source", String(32), nullable=False),
    Column("entries", Integer, nullable=False),
    Column("active", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("key_id", String(16), nullable=False, index=True),
    ForeignKeyConstraint(["level", "owner_id"], ["pin_list.level", "pin_list.owner_id"], name="fk_list_revision"),
)

list_part = Table(
    "list_part",
    metadata,
    Column("level", String(32), primary_key=True),
    Column("owner_id", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["level", "owner_id", "revision"],
        ["list_revision.level", "list_revision.owner_id", "list_revision.revision"],
        name="fk_list_part",
    ),
)

# The feed, compacted: each thing that changed stands once, at the position of its latest change.
change = Table(
    "change",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("id", String(128), primary_key=True),
    Column("position", Integer, nullable=False, unique=True),
    Column("committed_at", Float, nullable=False),
    Column("in_force_at", Float),
)

# One row. Updated last in a writer's transaction, so that positions become visible in order.
feed = Table(
    "feed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, nullable=False),
)

# One row, from the first list on: the key that new revisions are encrypted under.
key_in_use = Table(
    "key_in_use",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key_id", String(16), nullable=False),
)

daemon_state = Table(
    "daemon_state",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("version", String(32), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("position", Integer, nullable=False),
    Column("applied_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

# What a user signs in with. The TOTP secret is sealed under a key of the key file.
credential = Table(
    "credential",
    metadata,
    Column("user_id", ForeignKey("app_user.id"), primary_key=True),
    Column("password_hash", String(200)),
    Column("totp_secret", LargeBinary),
    Column("totp_key_id", String(16)),
    Column("totp_step", BigInteger, nullable=False),
    Column("changed_at", Float, nullable=False),
)

web_session = Table(
    "web_session",
    metadata,
    Column("id_hash", LargeBinary(32), primary_key=True),
    Column("user_id", ForeignKey("app_user.id"), index=True),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False, index=True),
    Column("address", String(64), nullable=False),
    Column("agent", String(200), nullable=False),
    Column("data", Text, nullable=False),
)

one_time_link = Table(
    "one_time_link",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("user_id", ForeignKey("app_user.id"), nullable=False, index=True),
    Column("expires_at", Float, nullable=False),
)

# By account and by address: how often in a row signing in has failed.
sign_in_failure = Table(
    "sign_in_failure",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("id", String(200), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last_at", Float, nullable=False),
)

consent = Table(
    "consent",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("policy", String(32), nullable=False),
    Column("at", Float, nullable=False),
)

# A list file between its upload and its confirmation, sealed under a key of the key file.
staged_upload = Table(
    "staged_upload",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", ForeignKey("app_user.id"), nullable=False, index=True),
    Column("created_at", Float, nullable=False, index=True),
    Column("filename", String(200), nullable=False),
    Column("owners", Text, nullable=False),
    Column("restore_zeros", Boolean, nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# Appended to, never changed.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("user_id", String(64), nullable=False, index=True),
    Column("company_id", String(64), index=True),
    Column("address", String(64), nullable=False),
    Column("action", String(48), nullable=False),
    Column("target", String(160), nullable=False),
    Column("detail", Text, nullable=False),
)

# One holding of a conference. What it was called and whose it was stays, whatever becomes of the conference.
occurrence = Table(
    "occurrence",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("conference_id", String(64), nullable=False),
    Column("company_id", String(64), nullable=False),
    Column("organizer_id", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("present", Integer, nullable=False),
    Column("admitted", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sent_at", Float),
    Column("sent_to", String(200)),
    Column("send_asked_at", Float),
    Column("send_claimed_at", Float),
    Column("send_next_at", Float),
    Column("send_attempts", Integer),
    Column("send_failed", String(200)),
    Index("ix_occurrence_send", "send_asked_at"),
    Index("ix_occurrence_conference", "conference_id", "ended_at"),
    Index("ix_occurrence_company", "company_id", "started_at"),
    Index("ix_occurrence_organizer", "organizer_id", "started_at"),
    Index("ix_occurrence_on", "ended_at", "last_at"),
)

# One call of an occurrence. Who called is sealed under a key of the key file.
call = Table(
    "call",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("occurrence_id", ForeignKey("occurrence.id"), nullable=False, index=True),
    Column("source", String(80), nullable=False),
    Column("call_id", String(128)),
    Column("verification_id", String(64), nullable=False, unique=True),
    Column("door", String(16), nullable=False),
    Column("admitted_at", Float, nullable=False),
    Column("joined_at", Float),
    Column("left_at", Float),
    Column("ended", String(16)),
    Column("person", LargeBinary(16)),
    Column("person_key_id", String(16)),
    Column("key_id", String(16), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_call_known", "call_id", "source"),
    Index("ix_call_open", "ended", "admitted_at"),
)

# How far each daemon's journal has come into the rolls.
journal = Table(
    "journal",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("segment", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

# What a company has chosen. Without a row it is as the settings say.
company_choice = Table(
    "company_choice",
    metadata,
    Column("company_id", ForeignKey("company.id"), primary_key=True),
    Column("keep_days", Integer),
    Column("dial_in", Text, nullable=False),
    Column("webhook_url", Text, nullable=False),
    Column("webhook_secret", LargeBinary),
    Column("webhook_key_id", String(16)),
    Column("webhook_stopped_at", Float),
    # NULL where PINs may be as short as anywhere.
    Column("minimum_pin_digits", Integer),
)

# Whether an organizer is sent each roll when the occurrence is over, and since when.
organizer_choice = Table(
    "organizer_choice",
    metadata,
    Column("organizer_id", ForeignKey("organizer.id"), primary_key=True),
    Column("send_roll", Boolean, nullable=False),
    Column("chosen_at", Float, nullable=False),
)

# When a conference is held, if it has a date: for invitations.
conference_date = Table(
    "conference_date",
    metadata,
    Column("conference_id", ForeignKey("conference.id"), primary_key=True),
    Column("starts_at", Float, nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("time_zone", String(64), nullable=False),
    Column("changed_at", Float, nullable=False),
)

# Who was invited to a conference, and what became of it. Whom, and where to, is sealed under a key of the key file.
invitation = Table(
    "invitation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("conference_id", String(64), nullable=False),
    Column("level", String(32), nullable=False),
    Column("owner_id", String(64), nullable=False),
    Column("person", LargeBinary(16), nullable=False),
    Column("queued_by", String(64), nullable=False),
    Column("queued_at", Float, nullable=False),
    Column("language", String(8), nullable=False),
    Column("next_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claimed_at", Float, index=True),
    Column("sent_at", Float),
    Column("failed", String(200)),
    Column("key_id", String(16), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_invitation_conference", "conference_id", "queued_at"),
    Index("ix_invitation_waiting", "sent_at", "failed", "next_at"),
)

# What a company is to be told of, and for some days what became of it. A row waits while it has a `next_at`; what it
# says is sealed, and goes once nobody waits for it any more. `about` is the call, whose events are sent in order.
webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("company_id", String(64), nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("event", String(32), nullable=False),
    Column("about", String(80), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float),
    Column("leased_until", Float),
    Column("attempts", Integer, nullable=False),
    Column("done_at", Float),
    Column("delivered", Boolean, nullable=False),
    Column("answer", String(16)),
    Column("key_id", String(16), index=True),
    Column("sealed", LargeBinary),
    Index("ix_webhook_delivery_company", "company_id", "next_at"),
    Index("ix_webhook_delivery_newest", "company_id", "id"),
    Index("ix_webhook_delivery_about", "about", "id"),
)

# What the throttle has locked, by the throttle's own name of what it counts. `company_id` and `organizer_id` are the
# conference's; without a conference it is the operator's business. Who calls is sealed under a key of the key file.
lockout = Table(
    "lockout",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("company_id", String(64)),
    Column("organizer_id", String(64)),
    Column("conference_id", String(64), nullable=False),
    Column("switch", String(80), nullable=False),
    Column("at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("unlocked_at", Float, index=True),
    Column("unlocked_by", String(64)),
    Column("key_id", String(16), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_lockout_company", "company_id", "until"),
    Index("ix_lockout_until", "until"),
)

OWNER_KEYS: Final = {
    Level.ORGANIZER: organizer.c.id,
    Level.AUTHORIZATION_CODE: authorization_code.c.code,
    Level.COMPANY: company.c.id,
}
"""Where the owners of each level are kept."""

DIRECTORY: Final = {
    "company": company,
    "authorization_code": authorization_code,
    "organizer": organizer,
    "conference": conference,
    "user": app_user,
}
"""What the directory holds, by the words of the directory file, in an order in which it can be written."""
