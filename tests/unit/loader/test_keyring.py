"""The key file, and what is sealed under its keys."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.errors import BlockError, KeyFileError
from loader.keyring import PART_SIZE, Keyring, part_count
from loader.model import Level, ListRevision, Owner, Revision

ANN = Owner(Level.ORGANIZER, "ann")


def revision_of(size: int, key_id: str, *, owner: Owner = ANN, revision: int = 3) -> ListRevision:
    return ListRevision(owner, Revision(revision), 0.0, "cli:root", "import", 1, 1, size, part_count(size), key_id)


def opened(ring: Keyring, listed: ListRevision, parts: list[bytes]) -> bytes:
    out = bytearray(listed.size)
    at = 0
    for number, part in enumerate(parts):
        at += ring.open_into(listed, number, part, memoryview(out)[at:])
    return bytes(out[:at])


def test_a_key_file_is_the_owners_alone_and_is_read_again(keyring: Keyring) -> None:
    """A new file has mode 0600 and one key, which a second reading gives back."""
    assert keyring.path.stat().st_mode & 0o777 == 0o600
    again = Keyring.load(keyring.path)
    assert again.current == keyring.current
    assert again.key_ids == {keyring.current}
    (sealed,) = keyring.seal(ANN, 3, b"block", key_id=keyring.current)
    assert opened(again, revision_of(5, again.current), [sealed]) == b"block"


def test_a_key_file_is_never_replaced(keyring: Keyring) -> None:
    """A second creation is refused, and the key stays."""
    before = keyring.path.read_bytes()
    with pytest.raises(KeyFileError, match="already there"):
        Keyring.create(keyring.path)
    assert keyring.path.read_bytes() == before


def test_a_key_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The folder's place is taken by a file: the error names the key file."""
    (tmp_path / "var").write_text("")
    with pytest.raises(KeyFileError, match=r"var/rollcall\.key: cannot be written: File exists"):
        Keyring.create(tmp_path / "var" / "rollcall.key")


def test_a_key_file_that_systemd_hands_over_may_show_bits_of_a_group(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stand for the service's own access there, as an ACL; others must have none there either."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(keyring.path.parent))
    keyring.path.chmod(0o440)
    assert Keyring.load(keyring.path).key_ids == keyring.key_ids
    keyring.path.chmod(0o444)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Keyring.load(keyring.path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(keyring: Keyring, mode: int) -> None:
    """The error says how to mend it."""
    keyring.path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Keyring.load(keyring.path)


def _second_half_changed(line: bytes) -> bytes:
    key_id, _, key = line.partition(b" ")
    return key_id + b" " + bytes(reversed(key.rstrip(b"=\n")))[:43] + b"=\n"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: b"", "holds no key"),
        (lambda _: b"\xff\xfe", "is not a key file"),
        (lambda _: b"secret\n", "line 1 is not a key"),
        (lambda line: line + line[:20], "line 2 is not a key"),
        (lambda line: b"\n" + line.replace(b" ", b" *"), "line 2 is not a key"),
        (_second_half_changed, "line 1 is not a key"),
    ],
)
def test_what_is_not_a_key_file_is_refused(keyring: Keyring, spoil: Callable[[bytes], bytes], said: str) -> None:
    """The error names file and line, and shows nothing of the content."""
    line = keyring.path.read_bytes()
    keyring.path.write_bytes(spoil(line))
    with pytest.raises(KeyFileError, match=said) as caught:
        Keyring.load(keyring.path)
    assert str(caught.value).startswith(str(keyring.path))
    assert line.split()[1].decode() not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("missing", [Path("none.key"), Path()])
def test_a_missing_or_unreadable_key_file_is_named(tmp_path: Path, missing: Path) -> None:
    """No file, or a folder in its place."""
    with pytest.raises(KeyFileError, match=r"there is no key file; `rollcall init`|cannot be read: Is a directory"):
        Keyring.load(tmp_path / missing)


@pytest.mark.parametrize("size", [1, PART_SIZE, PART_SIZE + 1, 3 * PART_SIZE])
def test_a_block_comes_back_part_by_part(keyring: Keyring, size: int) -> None:
    """No part has more than 256 KiB, and together they are the block."""
    block = os.urandom(size)
    parts = list(keyring.seal(ANN, 3, block, key_id=keyring.current))
    assert len(parts) == part_count(size)
    assert max(map(len, parts)) <= PART_SIZE + 28
    assert opened(keyring, revision_of(size, keyring.current), parts) == block


def test_the_same_block_never_looks_the_same(keyring: Keyring) -> None:
    """Each sealing has a nonce of its own."""
    (first,) = keyring.seal(ANN, 3, b"block", key_id=keyring.current)
    (second,) = keyring.seal(ANN, 3, b"block", key_id=keyring.current)
    assert first[:12] != second[:12]
    assert first[12:] != second[12:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parts: [parts[1], parts[0]],
        lambda parts: [parts[0], parts[0]],
        lambda parts: [parts[0], parts[1][:-1]],
        lambda parts: [parts[0], parts[1][:10]],
        lambda parts: [parts[0], b""],
        lambda parts: [parts[0][:100] + bytes([parts[0][100] ^ 1]) + parts[0][101:], parts[1]],
        lambda parts: [bytes([parts[0][0] ^ 1]) + parts[0][1:], parts[1]],
        lambda parts: [parts[0] + b"x", parts[1]],
        lambda parts: [*parts, parts[1]],
    ],
)
def test_tampering_is_noticed(keyring: Keyring, spoil: Callable[[list[bytes]], list[bytes]]) -> None:
    """A swapped, repeated, cut, changed or added part is refused, and the list is named."""
    parts = list(keyring.seal(ANN, 3, os.urandom(PART_SIZE + 100), key_id=keyring.current))
    with pytest.raises(BlockError, match="the list of organizer ann, revision 3, was damaged or tampered with"):
        opened(keyring, revision_of(PART_SIZE + 100, keyring.current), spoil(parts))


@pytest.mark.parametrize(
    ("owner", "revision", "size"),
    [
        (Owner(Level.ORGANIZER, "ben"), 3, 5),
        (Owner(Level.COMPANY, "ann"), 3, 5),
        (ANN, 4, 5),
        (ANN, 3, PART_SIZE + 1),
    ],
)
def test_a_part_is_good_in_its_own_place_only(keyring: Keyring, owner: Owner, revision: int, size: int) -> None:
    """Another owner's, another revision's, or a part of fewer parts is refused."""
    (sealed,) = keyring.seal(ANN, 3, b"block", key_id=keyring.current)
    with pytest.raises(BlockError):
        opened(keyring, revision_of(size, keyring.current, owner=owner, revision=revision), [sealed])


def test_a_missing_key_is_named(keyring: Keyring, tmp_path: Path) -> None:
    """Who has the wrong key file learns which key is wanted, for reading and for writing."""
    other = Keyring.create(tmp_path / "other.key")
    (sealed,) = keyring.seal(ANN, 3, b"block", key_id=keyring.current)
    with pytest.raises(KeyFileError, match=rf"other\.key: does not hold key {keyring.current}"):
        opened(other, revision_of(5, keyring.current), [sealed])
    with pytest.raises(KeyFileError, match=keyring.current):
        next(other.seal(ANN, 3, b"block", key_id=keyring.current))
    with pytest.raises(KeyFileError, match=keyring.current):
        other.holding(keyring.current)


def test_a_new_key_comes_first_and_old_ones_go(keyring: Keyring) -> None:
    """Keys are added and dropped in the file at once; the newest stays in any case."""
    old = keyring.current
    both = keyring.with_new_key()
    assert both.current != old
    assert Keyring.load(keyring.path).key_ids == {old, both.current}
    assert Keyring.load(keyring.path).current == both.current
    left = both.without([old, both.current])
    assert left.key_ids == Keyring.load(keyring.path).key_ids == {both.current}
    assert keyring.path.stat().st_mode & 0o777 == 0o600


def test_a_keyring_reads_its_file_again_for_a_key_that_it_does_not_know(keyring: Keyring) -> None:
    """A process that loaded the file before a rotation finds the new key."""
    new = keyring.with_new_key().current
    assert keyring.holding(keyring.current) is keyring
    assert keyring.holding(new).current == new


@pytest.mark.parametrize("size", [0, 1, 7, 12, 27])
def test_a_secret_that_is_cut_short_was_damaged(keyring: Keyring, size: int) -> None:
    """However little of it is left: a cipher has another error for what is less than a nonce."""
    sealed = keyring.seal_secret("totp|alicia", b"", key_id=keyring.current)
    with pytest.raises(BlockError):
        keyring.open_secret("totp|alicia", sealed[:size], key_id=keyring.current)
