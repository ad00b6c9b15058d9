"""The one place that speaks to a database: SQLAlchemy Core, the same code for SQLite and PostgreSQL."""

from loader.store.engine import sqlite_file
from loader.store.schema import migrate
from loader.store.store import Store, open_store
from loader.store.tables import SCHEMA_VERSION
from loader.store.writing import KEPT_REVISIONS, Writing

__all__ = ["KEPT_REVISIONS", "SCHEMA_VERSION", "Store", "Writing", "migrate", "open_store", "sqlite_file"]
