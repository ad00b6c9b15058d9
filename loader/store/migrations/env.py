"""Where Alembic begins: with the connection that :mod:`loader.store.migrate` hands over."""

from alembic import context

from loader.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
