"""Putting all lists under a new key."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from loader.errors import BlockError
from loader.journal_files import keys_waiting
from loader.keyring import Keyring
from loader.store import Store
from loader.store.choices import Choices
from loader.store.deliveries import Deliveries
from loader.store.invitations import Invitations
from loader.store.lockouts import Lockouts
from loader.store.rolls import RollBook
from loader.store.writing import Writing


async def rotate_key(store: Store, keyring: Keyring, journal: Path | None = None) -> Keyring:
    """Encrypt all that is sealed under a new key, and forget the keys that nothing uses any more.

    It can be stopped at any point and run again: while the file has several keys, a rotation is under way, and is
    finished. Each step holds in itself: the new key is in the file before the database takes it into use, each
    revision is put under it in a transaction of its own, and old keys go once nothing in the database names them.
    Those who read or write lists meanwhile read the file again when they meet a key that they do not know.
    Keys stay that something is sealed under in `journal`, the folder with the journals of this machine's daemons, on
    its way to the database.

    Raises KeyFileError, DatabaseUnavailable, and, after all other revisions are done, BlockError if one was tampered
    with: it stays under its old key, which stays in the file.
    """
    async with store.writing() as writing:
        # Under the writer's lock the file is read, changed and taken into use as one; another rotation waits.
        ring = await _with_new_key(writing, keyring)
        await writing.use_key(ring.current)
    damaged: BlockError | None = None
    for listed in await store.revisions_under_other_keys(ring.current):
        try:
            async with store.writing() as writing:
                seal = partial(ring.seal_again, listed, key_id=ring.current)
                await writing.seal_again(listed, ring.current, seal)
        except BlockError as error:
            damaged = damaged or error
    await RollBook(store).seal_again(ring, ring.current)
    await Invitations(store).seal_again(ring, ring.current)
    await Choices(store).seal_again(ring, ring.current)
    await Deliveries(store).seal_again(ring, ring.current)
    await Lockouts(store).seal_again(ring, ring.current)
    async with store.writing() as writing:
        await writing.seal_secrets_again(ring.current, partial(_seal_secret_again, ring))
    async with store.writing() as writing:
        ring = Keyring.load(keyring.path)
        unused = ring.key_ids - await writing.key_ids()
        if unused and journal is not None:
            unused -= keys_waiting(journal, await writing.journals_taken())
        if unused:
            ring = ring.without(unused)
    if damaged is not None:
        raise damaged
    return ring


async def prepare_key(store: Store, keyring: Keyring) -> Keyring:
    """Begin a rotation with a new key in the file, which nothing uses until :func:`rotate_key` goes on with it.

    Services that were given a copy of the file can be started anew in between, and know the key by then. Called again it
    changes nothing. Raises KeyFileError, DatabaseUnavailable.
    """
    async with store.writing() as writing:
        return await _with_new_key(writing, keyring)


async def _with_new_key(writing: Writing, keyring: Keyring) -> Keyring:
    ring = Keyring.load(keyring.path)
    in_use = await writing.key_in_use()
    if in_use is not None:
        ring = ring.holding(in_use)
    return ring.with_new_key() if len(ring.key_ids) == 1 else ring


def _seal_secret_again(ring: Keyring, purpose: str, secret: bytes, key_id: str) -> bytes:
    return ring.seal_secret(purpose, ring.open_secret(purpose, secret, key_id=key_id), key_id=ring.current)
