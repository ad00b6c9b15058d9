"""Signing in: passwords (argon2id), second factors (TOTP, RFC 6238), one-time links, and what slows guessing down."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Final

import msgspec
import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from admin.passwords import MAX_PASSWORD
from admin.turns import Turns
from loader.keyring import Keyring
from loader.model import AuditEntry, User
from loader.store import Desk, People, Store
from loader.tokens import new_word, word_hash

LINK_GOOD_FOR: Final = 3600.0
"""Seconds."""
_FREE_FAILURES: Final = {"account": 3, "address": 15, "forgot": 10}
"""How often in a row signing in may fail, and a link be asked for from one address, without a wait."""
_LONGEST_WAIT: Final = 900.0
_TOTP_STEP: Final = 30
_HASHES: Final = 4
"""Passwords that are hashed at once: each takes 64 MiB and a good part of a second."""
_HASHES_WAITING: Final = 100


class Slowed(Exception):
    """Signing in has failed too often: wait so many seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Signing:
    """Knows who somebody is by what he types."""

    def __init__(self, store: Store, people: People, keyring: Keyring, *, hasher: PasswordHasher | None = None) -> None:
        self._store = store
        self._people = people
        self._keyring = keyring
        self._hasher = hasher or PasswordHasher()
        self._turns = Turns(_HASHES, _HASHES_WAITING)
        # Somebody who is not there must take as long as a wrong password.
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    async def by_password(self, name: str, password: str, address: str) -> User | None:
        """The user with this name and password, both case-sensitive. Raises Slowed, Busy.

        Whether there is such a user makes no difference to what is done and how long it takes.
        """
        async with self._turns.turn():
            # In one's turn, as many who ask at once are to see each other's failures.
            await self._wait_over(name, address)
            user = await self._people.user(name)
            known = (await self._people.credential(name)).password_hash
            good = await self._matches(known or self._nobody, password)
            if user is None or known is None or not good:
                await self.failed(name, address)
                return None
        return user

    async def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        now = time.time()
        await self._people.failed("account", name[:200], now)
        await self._people.failed("address", address, now)

    async def succeeded(self, user: User) -> None:
        """The account's failures are forgiven; those of the address are not, as it may be guessing at others."""
        await self._people.succeeded("account", user.id)

    async def set_password(
        self, user: User, password: str, record: AuditEntry | None = None, *, link: str | None = None
    ) -> bool:
        """Give a user a new password, and sign him out everywhere; `record` goes into the audit trail with it.

        A `link` is used up by it: False, and nothing is done, if it was used before or is over. Raises Busy.
        """
        hashed = await self._turns.work(self._hasher.hash, password)
        async with self._store.together() as store:
            people = People(store)
            if link is not None and not await people.take_link(word_hash(link), time.time()):
                return False
            credential = await people.credential(user.id)
            await people.put_credential(
                msgspec.structs.replace(credential, password_hash=hashed, changed_at=time.time())
            )
            await people.end_sessions_of(user.id)
            await people.succeeded("account", user.id)
            if record is not None:
                await Desk(store).record(record)
        return True

    # Second factors

    async def has_second_factor(self, user: User) -> bool:
        return (await self._people.credential(user.id)).totp_secret is not None

    async def by_code(self, user: User, code: str, address: str) -> bool:
        """Whether this is a code of the user's authenticator that was not used before. Raises Slowed, Busy."""
        async with self._turns.turn():
            await self._wait_over(user.id, address)
            credential = await self._people.credential(user.id)
            if credential.totp_secret is not None and credential.totp_key_id is not None:
                keyring = self._keyring.holding(credential.totp_key_id)
                secret = keyring.open_secret(f"totp|{user.id}", credential.totp_secret, key_id=credential.totp_key_id)
                step = matching_step(secret.decode(), code)
                if step is not None and await self._people.use_totp_step(user.id, step):
                    return True
            await self.failed(user.id, address)
        return False

    async def set_second_factor(self, user: User, secret: str, step: int, record: AuditEntry) -> None:
        """Have the user need this authenticator from now on, and sign him out everywhere; `record` goes into the audit trail.

        The code of `step`, with which he has shown that he has it, is used up by that.
        """
        async with self._store.together() as store:
            people = People(store)
            key_id = await store.key_in_use() or self._keyring.current
            sealed = self._keyring.holding(key_id).seal_secret(f"totp|{user.id}", secret.encode(), key_id=key_id)
            credential = await people.credential(user.id)
            await people.put_credential(
                msgspec.structs.replace(credential, totp_secret=sealed, totp_key_id=key_id, totp_step=step)
            )
            await people.end_sessions_of(user.id)
            await Desk(store).record(record)

    async def key_in_use(self) -> str:
        """The ID of the key that new secrets are sealed under."""
        return await self._store.key_in_use() or self._keyring.current

    # One-time links

    async def new_link(self, user: User) -> str:
        """A word that sets the user's password once, within an hour."""
        word = new_word()
        await self._people.put_link(word_hash(word), user.id, time.time() + LINK_GOOD_FOR)
        return word

    async def link_user(self, word: str) -> User | None:
        return await self._people.link_user(word_hash(word), time.time())

    async def _matches(self, hashed: str, password: str) -> bool:
        def verify() -> bool:
            try:
                # What is longer than any password is hashed too, but not all of it.
                return self._hasher.verify(hashed, password[:MAX_PASSWORD]) and len(password) <= MAX_PASSWORD
            except (VerificationError, InvalidHashError):
                return False

        return await asyncio.to_thread(verify)

    async def asks_for_link(self, address: str) -> None:
        """Count that somebody asks for a link from an address. Raises Slowed if it was asked too often from there."""
        await self._require_patience("forgot", address)
        await self._people.failed("forgot", address, time.time())

    async def _wait_over(self, name: str, address: str) -> None:
        await self._require_patience("account", name[:200])
        await self._require_patience("address", address)

    async def _require_patience(self, kind: str, failed_id: str) -> None:
        count, last_at = await self._people.failures(kind, failed_id)
        over = count - _FREE_FAILURES[kind]
        if over >= 0:
            wait = min(2.0 ** min(over, 20), _LONGEST_WAIT)
            left = last_at + wait - time.time()
            # More than the whole wait is left where the clock was set back.
            if 0 < left <= wait:
                raise Slowed(int(left) + 1)


def new_secret() -> str:
    """A secret for an authenticator, in base32."""
    return pyotp.random_base32()


def otpauth(user: User, secret: str) -> str:
    """What an authenticator reads from the picture."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.id, issuer_name="Rollcall")


def matching_step(secret: str, code: str, now: float | None = None) -> int | None:
    """The time step whose code this is: the present one, the last or the next; None if it is of none of them."""
    code = code.replace(" ", "")
    totp = pyotp.TOTP(secret)
    step = int((time.time() if now is None else now) // _TOTP_STEP)
    for candidate in (step, step - 1, step + 1):
        if secrets.compare_digest(totp.generate_otp(candidate).encode(), code.encode("utf-8", "replace")):
            return candidate
    return None
