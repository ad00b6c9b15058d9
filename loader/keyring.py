"""The keys that lists are encrypted under, in a file of their own, and what is sealed with them.

The file has one line a key, the newest first: its ID, a space, and 32 bytes in base64. Its mode is 0600. It belongs to
one database, which names the key in use.
A block is sealed part by part with AES-256-GCM (NIST SP 800-38D). The associated data names owner, revision, and the
part among all parts, so that nothing can be cut off, swapped, or put in another's place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from loader.errors import BlockError, KeyFileError
from loader.files import is_open_to_others, write_atomically
from loader.model import ListRevision, Owner

PART_SIZE: Final = 256 * 1024
"""Bytes of a block in one part. Opening a part holds the interpreter for under a millisecond."""

_KEY_SIZE: Final = 32
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16


class Keyring:
    """The keys of one file. Keys are named by the start of their SHA-256, which tells nothing about them."""

    def __init__(self, path: Path, keys: Mapping[str, bytes]) -> None:
        self.path = path
        self._keys = dict(keys)
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read the key file. Raises KeyFileError if it is missing, open to others, or not a key file."""
        try:
            mode = path.stat().st_mode
            lines = path.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            raise KeyFileError(path, "there is no key file; `rollcall init` makes one") from None
        except OSError as error:
            raise KeyFileError(path, f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise KeyFileError(path, "is not a key file") from None
        if is_open_to_others(path, mode):
            raise KeyFileError(path, "can be read by others; make it yours alone with `chmod 600`")
        return cls(path, dict(_parse(path, lines)))

    @classmethod
    def create(cls, path: Path) -> Keyring:
        """Make a key file with one new key. Raises KeyFileError if it cannot be written or is already there."""
        if path.exists():
            raise KeyFileError(path, "is already there, and is never replaced")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KeyFileError(path, f"cannot be written: {error.strerror}") from None
        ring = cls(path, _new_key())
        ring.save()
        return ring

    @property
    def current(self) -> str:
        """The ID of the first key: the newest, which a new database takes into use."""
        return next(iter(self._keys))

    @property
    def key_ids(self) -> frozenset[str]:
        """The IDs of all keys."""
        return frozenset(self._keys)

    def with_new_key(self) -> Keyring:
        """The keyring with a new key in use and the others kept, written to the file."""
        ring = Keyring(self.path, _new_key() | self._keys)
        ring.save()
        return ring

    def without(self, key_ids: Iterable[str]) -> Keyring:
        """The keyring without these keys, written to the file. The key in use stays."""
        left_out = set(key_ids) - {self.current}
        ring = Keyring(self.path, {key_id: key for key_id, key in self._keys.items() if key_id not in left_out})
        ring.save()
        return ring

    def holding(self, key_id: str) -> Keyring:
        """The keyring that has this key: itself, or the file read again, as its keys may have been rotated since.

        Raises KeyFileError if the file does not have it either.
        """
        if key_id in self._keys:
            return self
        ring = Keyring.load(self.path)
        if key_id not in ring.key_ids:
            raise ring.lacks(key_id)
        return ring

    def using(self, key_id: str) -> Keyring:
        """As :meth:`holding`, with this key as the current one."""
        ring = self.holding(key_id)
        return Keyring(ring.path, {key_id: ring._keys[key_id], **ring._keys})  # noqa: SLF001

    def beside(self, older: Keyring) -> Keyring:
        """The keyring with the keys of an older one behind its own."""
        return Keyring(self.path, {**self._keys, **{k: v for k, v in older._keys.items() if k not in self._keys}})

    def save(self) -> None:
        """Write the keys to the file. Raises KeyFileError, and then the file is as it was."""
        lines = [f"{key_id} {base64.b64encode(key).decode()}\n" for key_id, key in self._keys.items()]
        try:
            write_atomically(self.path, "".join(lines).encode("ascii"), mode=0o600)
        except OSError as error:
            raise KeyFileError(self.path, f"cannot be written: {error.strerror}") from None

    def lacks(self, key_id: str) -> KeyFileError:
        """What to raise when the file does not have this key."""
        return KeyFileError(
            self.path,
            f"does not hold key {key_id}, which this database's lists are encrypted under; put that file back",
        )

    def seal(self, owner: Owner, revision: int, block: bytes, *, key_id: str) -> Iterator[bytes]:
        """The encrypted parts of a block, in order. Raises KeyFileError if the file does not have the key."""
        cipher = self._cipher(key_id)
        parts = part_count(len(block))
        whole = memoryview(block)
        for part in range(parts):
            plain = whole[part * PART_SIZE : (part + 1) * PART_SIZE]
            yield _sealed(cipher, plain, _associated(owner, revision, part, parts))

    def open_into(self, listed: ListRevision, part: int, ciphertext: bytes, out: memoryview) -> int:
        """Decrypt one part of a list into the front of `out`; how many bytes it has.

        Raises KeyFileError if the file does not have the key, BlockError if the part is not what was sealed.
        """
        cipher = self._cipher(listed.key_id)
        size = len(ciphertext) - _NONCE_SIZE - _TAG_SIZE
        if not 0 <= size <= len(out):
            raise damaged(listed)
        sealed = memoryview(ciphertext)
        associated = _associated(listed.owner, listed.revision, part, listed.parts)
        try:
            cipher.decrypt_into(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], associated, out[:size])
        except InvalidTag:
            raise damaged(listed) from None
        return size

    def seal_again(self, listed: ListRevision, part: int, ciphertext: bytes, *, key_id: str) -> bytes:
        """One part of a list, encrypted under another key. Raises as :meth:`open_into` does."""
        plain = bytearray(PART_SIZE)
        size = self.open_into(listed, part, ciphertext, memoryview(plain))
        associated = _associated(listed.owner, listed.revision, part, listed.parts)
        return _sealed(self._cipher(key_id), memoryview(plain)[:size], associated)

    def seal_secret(self, purpose: str, secret: bytes, *, key_id: str) -> bytes:
        """Something small, encrypted for one purpose, such as `totp|alicia`. Raises KeyFileError."""
        return _sealed(self._cipher(key_id), memoryview(secret), f"rollcall secret 1|{purpose}".encode())

    def open_secret(self, purpose: str, sealed: bytes, *, key_id: str) -> bytes:
        """What was sealed for this purpose. Raises KeyFileError, or BlockError if it was tampered with."""
        associated = f"rollcall secret 1|{purpose}".encode()
        cipher = self._cipher(key_id)
        try:
            if len(sealed) < _NONCE_SIZE + _TAG_SIZE:
                # What is shorter than a nonce may have is a ValueError to the cipher.
                raise InvalidTag
            return cipher.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], associated)
        except InvalidTag:
            raise BlockError(f"the secret for {purpose.partition('|')[0]} was damaged or tampered with") from None

    def fingerprint(self, owner: Owner, pin: str, *, key_id: str) -> bytes:
        """16 bytes that stand for a PIN of a list, and tell it to nobody without the key: HMAC-SHA-256, cut short.

        Raises KeyFileError if the file does not have the key.
        """
        self._cipher(key_id)
        said = f"rollcall person 1|{owner.key}|{pin}".encode()
        return hmac.digest(self._keys[key_id], said, "sha256")[:16]

    def _cipher(self, key_id: str) -> AESGCM:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise self.lacks(key_id)
        return cipher


class FollowedKeys:
    """A keyring that follows its file: called, it gives the keys that the file has now, the newest first.

    Keys that are gone from the file are kept behind them: something may still be on its way under one. A file that
    cannot be read leaves all as it was.
    """

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring
        self._read_as: object = None

    def __call__(self) -> Keyring:
        path = self._ring.path
        try:
            status = path.stat()
            read_as = (status.st_ino, status.st_mtime_ns, status.st_size)
            if read_as != self._read_as:
                self._ring = Keyring.load(path).beside(self._ring)
                self._read_as = read_as
        except (OSError, KeyFileError):
            pass
        return self._ring


def part_count(size: int) -> int:
    """How many parts a block of this many bytes has."""
    return -(-size // PART_SIZE)


def damaged(listed: ListRevision) -> BlockError:
    """What to raise when the parts of a list are not what was sealed."""
    return BlockError(f"the list of {listed.owner}, revision {listed.revision}, was damaged or tampered with")


def _sealed(cipher: AESGCM, plain: memoryview, associated: bytes) -> bytes:
    nonce = os.urandom(_NONCE_SIZE)
    return nonce + cipher.encrypt(nonce, plain, associated)


def _associated(owner: Owner, revision: int, part: int, parts: int) -> bytes:
    return f"rollcall block 1|{owner.level.value}|{owner.id}|{revision}|{part}|{parts}".encode()


def _new_key() -> dict[str, bytes]:
    key = os.urandom(_KEY_SIZE)
    return {_key_id(key): key}


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:12]


def _parse(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    found = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key_id, _, encoded = line.strip().partition(" ")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != _KEY_SIZE or _key_id(key) != key_id:
            raise KeyFileError(path, f"line {number} is not a key")
        found = True
        yield key_id, key
    if not found:
        raise KeyFileError(path, "holds no key")
