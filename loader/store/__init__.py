"""The one place that speaks to a database: SQLAlchemy Core, the same code for SQLite and PostgreSQL."""

from loader.store.desk import Applied, Desk
from loader.store.engine import sqlite_file, sqlite_url
from loader.store.people import People
from loader.store.schema import migrate
from loader.store.store import Store, open_store
from loader.store.tables import SCHEMA_VERSION
from loader.store.writing import KEPT_REVISIONS, Writing

__all__ = [
    "KEPT_REVISIONS",
    "SCHEMA_VERSION",
    "Applied",
    "Desk",
    "People",
    "Store",
    "Writing",
    "migrate",
    "open_store",
    "sqlite_file",
    "sqlite_url",
]
