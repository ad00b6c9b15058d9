"""What is read from a disk: settings, directory files, keys, clients of RADIUS, compiled lists, journals."""

from __future__ import annotations

import base64
import json
import math
import os
import tempfile
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import msgspec

from daemon.doors.radius_clients import Clients
from daemon.doors.secret_file import read_secret
from loader.compiled import Block, compile_list, pin_key
from loader.directory_file import Directory, parse_directory
from loader.errors import BlockError, DirectoryError, KeyFileError, SettingsError
from loader.journal_files import JournalReader, record, segment_file
from loader.keyring import Keyring
from loader.model import Entry, Level, ListRevision, Owner, Pin, Revision
from loader.roll import Admitted, Event, Joined, Left, Refused
from loader.settings import Settings, load_settings
from loader.store.rolls import BEGINNING, Progress
from tests.fuzz.harness import PART, Harness, parts, patched

_KEY: Final = bytes(range(32))
_OTHER_KEY: Final = bytes(range(1, 33))


@cache
def _folder() -> Path:
    """A folder that is gone with the process."""
    made = tempfile.TemporaryDirectory(prefix="rollcall-fuzz-")
    _kept.append(made)
    return Path(made.name)


_kept: Final[list[tempfile.TemporaryDirectory[str]]] = []


def file_with(name: str, data: bytes) -> Path:
    """A file that holds this and nobody else may read."""
    file = _folder() / name
    file.touch(mode=0o600)
    file.write_bytes(data)
    return file


def assert_plain(problems: tuple[str, ...]) -> None:
    """What is told is told in lines, and is no look at the inside."""
    assert problems
    for problem in problems:
        assert problem.strip()
        assert "Traceback" not in problem


# Settings


def _settings(data: bytes) -> None:
    """A file, and variables of the environment: settings within their limits, or every problem."""
    file, *variables = data.split(PART)
    environment = {}
    for variable in variables:
        name, _, value = os.fsdecode(variable.replace(b"\0", b"")).partition("=")
        environment["ROLLCALL_" + name] = value
    environment.pop("ROLLCALL_CONFIG", None)
    try:
        settings = load_settings(file_with("rollcall.toml", file), environment)
    except SettingsError as error:
        assert_plain(error.problems)
        return
    built = msgspec.to_builtins(settings)
    assert msgspec.convert(built, Settings) == settings
    assert all(math.isfinite(value) for value in _floats(built))


def _floats(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in _floats(inner)]
    return [value] if isinstance(value, float) else []


# The directory


def _directory(data: bytes) -> None:
    """A file of either kind is a directory, or every problem is told."""
    for kind in ("toml", "json"):
        try:
            found = parse_directory(data, format=kind)
        except DirectoryError as error:
            assert_plain(error.problems)
            continue
        _assert_right(found)
        if kind == "json" and found != Directory():
            document = json.loads(data.decode("utf-8-sig"))
            companies = [one["id"] for one in document.get("company", ())]
            assert companies == [one.values["id"] for one in found.companies]


def _assert_right(found: Directory) -> None:
    """Each value can be kept, and no ID or passcode stands twice."""
    for records, key in (
        (found.companies, "id"),
        (found.authorization_codes, "code"),
        (found.organizers, "id"),
        (found.conferences, "id"),
        (found.conferences, "passcode"),
        (found.users, "id"),
    ):
        keys = [one.values[key] for one in records]
        assert len(set(keys)) == len(keys)
        for one in records:
            for value in one.values.values():
                assert isinstance(value, bool) or value.encode().decode() == value


# Keys and secrets


def _key_file(data: bytes) -> None:
    """A key file, or the one error. What it holds can be written and read again."""
    file = file_with("some.key", data)
    try:
        ring = Keyring.load(file)
    except KeyFileError as error:
        assert base64.b64encode(_KEY).decode() not in str(error)
        return
    sealed = ring.seal_secret("test", b"secret", key_id=ring.current)
    assert ring.open_secret("test", sealed, key_id=ring.current) == b"secret"
    again = ring.without(())
    assert Keyring.load(file).key_ids == again.key_ids == ring.key_ids


def _clients(data: bytes) -> None:
    """A clients' file and an address: the secret of the address, or of nobody; what is told repeats no secret."""
    file, address = parts(data, 2)
    path = str(file_with("clients", file))
    try:
        clients = Clients.read(path)
    except SettingsError as error:
        assert_plain(error.problems)
        assert "s3cret" not in str(error)
    else:
        host = address.decode("ascii", "ignore")
        try:
            ip_address(host)
        except ValueError:
            host = "127.0.0.1"
        clients.secret_of(host)
    try:
        assert read_secret("setting", path) == file.strip()
    except SettingsError as error:
        assert_plain(error.problems)


# Compiled lists


def _entry(number: int) -> Entry:
    return Entry(
        Pin(f"{number * 37:0{2 + number % 9}}"),
        f"Zoë {number}",
        "Doe",
        f"XYZ {number % 3}",
        "",
        "mike@example.com",
        "Uxbridge",
        "UK",
        "",
        number % 4 != 1,
    )


_ENTRIES: Final = [_entry(number) for number in range(1, 8)]
_BLOCK: Final = compile_list(_ENTRIES)
_PINS: Final = [entry.pin for entry in _ENTRIES]


def _block(data: bytes) -> None:
    """A damaged list is refused, or it is one: what it says is the same however it is asked."""
    how, changes = data[:1], data[1:]
    whole = changes if how == b"\xff" else patched(_BLOCK, changes)
    try:
        block = Block(whole, Revision(1))
        listed = list(block.entries())
    except BlockError:
        listed = None
    try:
        block = Block(whole, Revision(1))
        for pin in (*_PINS, "00", "9999999999", "37"):
            at = block.find(pin_key(pin) or 0)
            assert at is None or 0 <= at < block.count
            if at is not None:
                found = block.entry(at)
                assert found.pin == pin == block.pin(at)
                assert found.active is block.is_active(at)
                assert found.first_name == block.participant(at).first_name
                assert listed is None or listed[at] == found
                assert all(len(field) <= block.size for field in msgspec.structs.astuple(found)[:9])
    except BlockError:
        assert listed is None
    else:
        assert listed is not None or whole != _BLOCK
    if whole == _BLOCK:
        assert listed == sorted(_ENTRIES, key=lambda entry: pin_key(entry.pin) or 0)
    if listed is not None:
        assert 0 <= block.active_count <= block.count == len(listed)
        for one in listed:
            assert pin_key(one.pin) is not None


_RING: Final = Keyring(
    Path("none"), {"630dcd2966c4": _KEY, "ae216c2ef524": _OTHER_KEY}
)  # the file is not there: a key that is not here is nowhere
_OWNER: Final = Owner(Level.ORGANIZER, "alicia")
_LISTED: Final = ListRevision(_OWNER, Revision(3), 0.0, "test", "import", 7, 5, len(_BLOCK), 1, _RING.current)
(_SEALED,) = _RING.seal(_OWNER, 3, _BLOCK, key_id=_RING.current)


def _sealed_block(data: bytes) -> None:
    """What is not what was sealed, for this owner and this revision, is the one error, and never a list."""
    how, changes = data[:1] or b"\0", data[1:]
    sealed = patched(_SEALED, changes)
    listed = _LISTED
    if how == b"r":
        listed = msgspec.structs.replace(_LISTED, revision=Revision(4))
    elif how == b"o":
        listed = msgspec.structs.replace(_LISTED, owner=Owner(Level.COMPANY, "alicia"))
    elif how == b"p":
        listed = msgspec.structs.replace(_LISTED, parts=2)
    elif how == b"k":
        listed = msgspec.structs.replace(_LISTED, key_id="ae216c2ef524")
    out = bytearray(len(_BLOCK) + 8)
    try:
        size = _RING.open_into(listed, 0, sealed, memoryview(out))
    except BlockError:
        assert listed is not _LISTED or sealed != _SEALED
    else:
        assert listed is _LISTED
        assert sealed == _SEALED
        assert out[:size] == _BLOCK
    secret = patched(_SEALED, changes)[: len(changes)]
    try:
        _RING.open_secret("totp|alicia", secret, key_id=_RING.current)
    except BlockError:
        return
    raise AssertionError(secret)


# The journal

_EVENTS: Final[list[list[Event]]] = [
    [Admitted(1.5, "v1", "http", "pbx-1", "1.17", "+15550100", "C-1001", "organizer:alicia", "004127")],
    [Joined(2.5, "pbx-1", "1.17"), Refused(3.5, "C-1001", "unknown_pin", 3)],
    [Left(4.5, "pbx-1", "1.17")],
]


def _segment(number: int) -> bytes:
    """All events, as they stand in this segment."""
    whole = b""
    for group in _EVENTS:
        whole += record(group, _RING, "journal", Progress(number, len(whole)))
    return whole


_SEGMENTS: Final = {number: _segment(number) for number in (1, 2)}
_TOLD: Final = [event for group in _EVENTS for event in group]


def _journal(data: bytes) -> None:
    """What is read from a damaged journal was written, and nothing behind the damage is taken for something else."""
    changes, raw = parts(data, 2)
    folder = _folder() / "journal"
    folder.mkdir(exist_ok=True)
    (folder / "id").write_bytes(b"journal")
    segment_file(folder, 1).write_bytes(raw or patched(_SEGMENTS[1], changes))
    segment_file(folder, 2).write_bytes(_SEGMENTS[2])
    reader = JournalReader(folder, lambda: _RING)
    try:
        events, _ = reader.read(BEGINNING, 1000)
    except KeyFileError:
        # A key that is not in the file may come back into it: nobody goes past what it seals.
        events, _ = reader.read(Progress(2, 0), 1000)
        assert events == _TOLD
    else:
        first = events[: len(events) - len(_TOLD)]
        assert first == _TOLD[: len(first)]
        assert events[len(first) :] == _TOLD
    left = reader.left_behind(1000)
    assert left[-len(_TOLD) :] == _TOLD
    assert left[: -len(_TOLD)] == _TOLD[: len(left) - len(_TOLD)]


_TOML: Final = b"""[database]
url = "sqlite:///var/rollcall.db"
[daemon]
port = 8470
drain_timeout = 1.5
[doors.fastagi]
enabled = true
prompts.pin = "x"
[lists]
guessable_share = 0.01
"""
_DIRECTORY: Final = b"""
[[company]]
id = "one"
name = "Company One"
authorization_code = [{code = "11", label = "ELEVEN"}]
user = [{id = "org", name = "Olive", email = "org@example.com", role = "organizer", organizer = "olive"}]
[[company.organizer]]
id = "olive"
name = "Olive Organizer"
email = "org@example.com"
authorization_code = "11"
conference = [{id = "A-1", title = "Weekly call", passcode = "1111", pin_entry = true}]
[[user]]
id = "ope"
name = "Olga"
email = "ope@example.com"
"""
_DIRECTORY_JSON: Final = json.dumps(
    {
        "company": [
            {
                "id": "one",
                "name": "Company One",
                "authorization_code": [{"code": "11", "label": "ELEVEN"}],
                "organizer": [
                    {
                        "id": "olive",
                        "name": "O",
                        "email": "o@example.com",
                        "authorization_code": "11",
                        "conference": [{"id": "A-1", "title": "Call", "passcode": "1111", "pin_entry": True}],
                    }
                ],
            }
        ]
    }
).encode()
_KEY_LINE: Final = b"630dcd2966c4 " + base64.b64encode(_KEY) + b"\n"

HARNESSES: Final = {
    "settings": Harness(
        _settings,
        [
            _TOML,
            PART.join((_TOML, b"DAEMON__PORT=1", b"DOORS__RADIUS__ENABLED=true", b"ROLL__QUIET=3.5")),
            b"[daemon]\ndrain_timeout = nan\n",
        ],
        [b"[", b"]", b"[[", b"=", b'"', b"'''", b"{", b"}", b"inf", b"nan", b"1979-05-27T07:32:00Z", b"__", PART],
    ),
    "directory": Harness(
        _directory,
        [_DIRECTORY, _DIRECTORY_JSON, b"\xef\xbb\xbf" + _DIRECTORY_JSON],
        [b"[", b"{", b'"', b"\\ud800", b"\\u0000", b"null", b"true", b"NaN", b"1e400", b"\xef\xbb\xbf", b"role"],
    ),
    "key_file": Harness(_key_file, [_KEY_LINE, _KEY_LINE * 2, b"\n"], [b"=", b" ", b"\n", b"\x0c", b"\x1c"], 512),
    "clients": Harness(
        _clients,
        [
            b"# clients\n192.0.2.7 s3cret\n192.0.2.0/24  s3cret s3cret\n\n::1 s3cret\n" + PART + b"192.0.2.9",
            b"fe80::1%eth0 s3cret" + PART + b"fe80::1%eth0",
        ],
        [b"/", b"%", b":", b"::ffff:192.0.2.7", b" ", b"\t", b"#", b"\xc2\x85", b"\xe2\x80\xa8"],
        512,
    ),
    "block": Harness(
        _block,
        [b"\0\0", b"\0\0\x1c\0\x01", b"\xff" + _BLOCK, b"\xff" + compile_list(()), b"\0\x81"],
        [b"RCPL", b"\x1f"],
    ),
    "sealed_block": Harness(_sealed_block, [b"\0\0", b"r\0", b"o\0", b"p\0", b"k\0", b"\0\0\x1c\0\x01", b"\0\x81"]),
    "journal": Harness(
        _journal,
        [b"\0", b"\x01", b"\x90", b"\0\0\0\x01", b"\0\x03\0\x40", PART + _SEGMENTS[1], PART + _SEGMENTS[2]],
        [b"\xff\xff\xff\x3f", b"630dcd2966c4", b"\x93"],
    ),
}
