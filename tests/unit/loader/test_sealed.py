"""What is sealed in rows."""

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects import postgresql

from loader.keyring import Keyring
from loader.store.sealed import key_in_use


class _Connection:
    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.said = ""

    async def execute(self, statement: Any) -> "_Connection":
        assert isinstance(statement, Executable)
        self.said = str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[attr-defined, no-untyped-call]
        return self

    def scalar(self) -> str:
        return self.key_id


async def test_who_asks_for_the_key_in_use_has_the_rolls_alone(keyring: Keyring) -> None:
    """In PostgreSQL two keepers would otherwise each count the callers that are in without the other's."""
    connection = _Connection(keyring.current)
    assert (await key_in_use(connection, keyring)).current == keyring.current  # type: ignore[arg-type]
    assert connection.said.endswith("FOR UPDATE")
