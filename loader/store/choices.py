"""What companies have chosen: numbers to dial in, how long rolls are kept, where their events go, how short PINs may be."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loader.errors import InvalidValue
from loader.keyring import Keyring
from loader.model import MAX_PIN_LENGTH, MIN_PIN_LENGTH, Level, Owner, parse_text
from loader.store import tables as t
from loader.store.sealed import key_in_use
from loader.store.store import Store

MOST_DIAL_IN: Final = 8
"""Numbers to dial in that a company can have."""
MOST_DAYS: Final = 36500

_NUMBER: Final = re.compile(r"\+?[0-9(][0-9 ()./-]*", re.ASCII)


class DialIn(msgspec.Struct, frozen=True, array_like=True):
    """A number to dial in, as people write it, and what it is called, such as `London`; the label may be empty."""

    number: str
    label: str = ""


class CompanyChoice(msgspec.Struct, frozen=True):
    """What one company has chosen. `keep_days` is None where the settings decide.

    `webhook_stopped_at` is when the receiver said that it is gone (410), in seconds since 1970 UTC: since then it is
    told nothing. `minimum_pin_digits` is the fewest digits that a new PIN may have.
    """

    company_id: str
    keep_days: int | None = None
    dial_in: tuple[DialIn, ...] = ()
    webhook_url: str = ""
    has_secret: bool = False
    webhook_stopped_at: float | None = None
    minimum_pin_digits: int = MIN_PIN_LENGTH


class Choices:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, company_id: str) -> CompanyChoice:
        """What a company has chosen; the defaults if that is nothing."""
        rows = await self._store.all(select(t.company_choice).where(t.company_choice.c.company_id == company_id))
        if not rows:
            return CompanyChoice(company_id)
        (row,) = rows
        return CompanyChoice(
            company_id,
            row.keep_days,
            msgspec.json.decode(row.dial_in, type=tuple[DialIn, ...]),
            row.webhook_url,
            row.webhook_secret is not None,
            row.webhook_stopped_at,
            row.minimum_pin_digits or MIN_PIN_LENGTH,
        )

    async def keep_days(self) -> dict[str, int]:
        """The companies that have chosen how many days rolls are kept."""
        choice = t.company_choice.c
        rows = await self._store.all(select(choice.company_id, choice.keep_days).where(choice.keep_days.is_not(None)))
        return {row.company_id: row.keep_days for row in rows}

    async def set_dial_in(self, company_id: str, numbers: tuple[DialIn, ...]) -> None:
        await self._set(company_id, dial_in=msgspec.json.encode(numbers).decode())

    async def set_keep_days(self, company_id: str, days: int | None) -> None:
        await self._set(company_id, keep_days=days)

    async def set_minimum_pin_digits(self, company_id: str, digits: int) -> None:
        await self._set(company_id, minimum_pin_digits=digits)

    async def minimum_pin_digits(self, owner: Owner) -> int:
        """The fewest digits that a new PIN in an owner's list may have; the fewest of all if there is no such owner."""
        key = t.OWNER_KEYS[owner.level]
        company = key if owner.level is Level.COMPANY else key.table.c.company_id
        choice = t.company_choice.c
        query = select(choice.minimum_pin_digits).join(key.table, company == choice.company_id)
        rows = await self._store.all(query.where(key == owner.id))
        return (rows[0].minimum_pin_digits if rows else None) or MIN_PIN_LENGTH

    async def rolls_before(self, company_id: str, before: float) -> int:
        """How many rolls of a company ended before a time."""
        known = t.occurrence.c
        query = select(func.count().label("counted")).select_from(t.occurrence)
        rows = await self._store.all(query.where(known.company_id == company_id, known.ended_at < before))
        return int(rows[0].counted)

    async def set_webhook(self, company_id: str, url: str) -> None:
        """Where events go from now on; nowhere if it is empty. A receiver that had said that it is gone is asked again.

        What is waiting goes to the new address; without one it is forgotten.
        """
        delivery = t.webhook_delivery
        async with self._store.transaction() as connection:
            await _put(connection, company_id, webhook_url=url, webhook_stopped_at=None)
            if not url:
                await connection.execute(
                    delivery.delete().where(delivery.c.company_id == company_id, delivery.c.next_at.is_not(None))
                )

    async def set_webhook_secret(self, keyring: Keyring, company_id: str, secret: bytes) -> None:
        """What events are signed with from now on. Raises KeyFileError."""
        async with self._store.transaction() as connection:
            ring = await key_in_use(connection, keyring)
            sealed = ring.seal_secret(secret_purpose(company_id), secret, key_id=ring.current)
            await _put(connection, company_id, webhook_secret=sealed, webhook_key_id=ring.current)

    async def seal_again(self, keyring: Keyring, key_id: str) -> None:
        """Put the secrets under another key. Raises KeyFileError, BlockError."""
        choice = t.company_choice.c
        async with self._store.transaction() as connection:
            query = select(choice.company_id, choice.webhook_secret, choice.webhook_key_id)
            for row in (await connection.execute(query.where(choice.webhook_key_id != key_id))).all():
                secret = opened_secret(keyring, row)
                sealed = keyring.seal_secret(secret_purpose(row.company_id), secret, key_id=key_id)
                await _put(connection, row.company_id, webhook_secret=sealed, webhook_key_id=key_id)

    async def _set(self, company_id: str, **values: Any) -> None:
        async with self._store.transaction() as connection:
            await _put(connection, company_id, **values)


async def _put(connection: AsyncConnection, company_id: str, **values: Any) -> None:
    known = t.company_choice.c.company_id == company_id
    if (await connection.execute(update(t.company_choice).where(known).values(**values))).rowcount == 0:
        new = {"company_id": company_id, "dial_in": "[]", "webhook_url": ""} | values
        await connection.execute(insert(t.company_choice).values(**new))


def secret_purpose(company_id: str) -> str:
    return f"webhook secret|{company_id}"


def opened_secret(keyring: Keyring, row: Any) -> bytes:
    """The secret of a row of company_choice. Raises KeyFileError, BlockError."""
    ring = keyring.holding(row.webhook_key_id)
    return ring.open_secret(secret_purpose(row.company_id), row.webhook_secret, key_id=row.webhook_key_id)


def parse_dial_in(number: str, label: str) -> DialIn:
    """What was typed becomes a number to dial in. Raises InvalidValue."""
    number = " ".join(number.split())
    if _NUMBER.fullmatch(number) is None or not 3 <= sum(map(str.isdigit, number)) <= 20 or len(number) > 40:
        raise InvalidValue("a telephone number has 3 to 20 digits, and a + in front of a country code")
    return DialIn(number, parse_text(label, required=False))


def parse_minimum_pin_digits(text: str) -> int:
    """A number of digits from 2 to 10; 2 for nothing. Raises InvalidValue."""
    text = text.strip() or str(MIN_PIN_LENGTH)
    if not (text.isascii() and text.isdigit() and len(text) < 3 and MIN_PIN_LENGTH <= int(text) <= MAX_PIN_LENGTH):
        raise InvalidValue(f"a PIN has {MIN_PIN_LENGTH} to {MAX_PIN_LENGTH} digits")
    return int(text)


def parse_keep_days(text: str) -> int | None:
    """Days from 1 to 36,500; None for nothing. Raises InvalidValue."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_DAYS):
        raise InvalidValue(f"days are a number from 1 to {MOST_DAYS}")
    return int(text)
