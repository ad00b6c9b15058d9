"""What stands sealed in the database's rows: under which key, and put under another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.keyring import Keyring
from loader.store import tables as t
from loader.store.store import Store

AT_ONCE: Final = 500
"""Rows in one transaction: each is a write that others wait for."""


async def key_in_use(connection: AsyncConnection, keyring: Keyring) -> Keyring:
    """The keyring whose current key is the one in use, as the transaction sees it: it may have been rotated since.

    Transactions that ask for it come one after the other, also in PostgreSQL: rolls are read and then written.
    """
    key_id = (await connection.execute(select(t.key_in_use.c.key_id).with_for_update())).scalar()
    if key_id is None:
        await connection.execute(insert(t.key_in_use).values(id=1, key_id=keyring.current))
        return keyring
    return keyring.using(key_id)


def opened(keyring: Keyring, purpose: str, row: Any) -> bytes:
    """What is sealed in a row that has `sealed` and `key_id`. Raises KeyFileError, BlockError."""
    return keyring.holding(row.key_id).open_secret(purpose, row.sealed, key_id=row.key_id)


async def seal_again(store: Store, keyring: Keyring, table: Table, purpose: Callable[[Any], str], key_id: str) -> None:
    """Put the rows of a table under another key, some hundred at a time: each has `id`, `sealed` and `key_id`.

    `purpose` gives what a row was sealed for. Raises KeyFileError, BlockError, DatabaseUnavailable.
    """
    query = select(table).where(table.c.key_id != key_id).limit(AT_ONCE)
    change = update(table).where(table.c.id == bindparam("known")).values(key_id=key_id, sealed=bindparam("new_sealed"))
    while True:
        async with store.transaction() as connection:
            rows = (await connection.execute(query)).all()
            if not rows:
                return
            await connection.execute(
                change,
                [
                    {
                        "known": row.id,
                        "new_sealed": keyring.seal_secret(
                            purpose(row), opened(keyring, purpose(row), row), key_id=key_id
                        ),
                    }
                    for row in rows
                ],
            )
