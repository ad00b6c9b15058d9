"""The words of Rollcall as frozen values, and the one place where text becomes one of them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple, NewType, Self

import msgspec

from loader.errors import InvalidValue

Passcode = NewType("Passcode", str)
"""The digits that name a conference to the bridge: 1 to 32 ASCII digits, unique over the whole system."""

Pin = NewType("Pin", str)
"""2 to 10 ASCII digits that name a person within a list. A string: leading zeros count."""

Revision = NewType("Revision", int)
"""The number of a list's state: 1 for the first upload, one more with each change."""

Position = NewType("Position", int)
"""How far the feed of changes has come: one more with each committed change of anything."""

LANGUAGES: Final = ("en", "fr", "de", "ja")
"""The languages that people are spoken to in. The English text is in the code."""

MAX_FIELD_LENGTH: Final = 200
"""Characters in one field of an entry, or in a title or name of the directory."""

MAX_SWITCH_RATE: Final = 100_000
"""The highest limit that can be set of a switch's requests a second."""

MAX_OVERLAP: Final = 365 * 86400.0
"""Seconds that a switch's old token may stay good beside its new one, at most."""
MIN_PIN_LENGTH: Final = 2
MAX_PIN_LENGTH: Final = 10

_PIN = re.compile(r"[0-9]{2,10}", re.ASCII)
_PASSCODE = re.compile(r"[0-9]{1,32}", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?", re.ASCII)
_AUTHORIZATION_CODE = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Half a surrogate, as JSON can write it, is no character and cannot be kept."""


class Level(StrEnum):
    """Whose a list is. In the order in which lists are asked."""

    ORGANIZER = "organizer"
    AUTHORIZATION_CODE = "authorization_code"
    COMPANY = "company"


class Role(StrEnum):
    """What a user of the web site may do: section 2 of the design."""

    ORGANIZER = "organizer"
    ADMINISTRATOR = "administrator"
    SUPER_ADMINISTRATOR = "super-administrator"
    COORDINATOR = "coordinator"
    OPERATOR = "operator"


class Owner(NamedTuple):
    """Who has a PIN list: at most one list an owner."""

    level: Level
    id: str

    def __str__(self) -> str:
        return f"{self.level.value.replace('_', ' ')} {self.id}"

    @property
    def key(self) -> str:
        """The owner in one word, such as `organizer:alicia`."""
        return f"{self.level}:{self.id}"

    @classmethod
    def from_key(cls, key: str) -> Owner:
        level, _, owner_id = key.partition(":")
        return cls(Level(level), owner_id)


class Participant(msgspec.Struct, frozen=True, gc=False):
    """Who a caller is: the fields of an entry that a switch is told. Each is at most 200 characters."""

    first_name: str
    last_name: str
    company: str
    phone: str
    email: str
    city: str
    state_country: str
    other: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of a list. Fields are stripped of outer spaces and hold no control characters."""

    pin: Pin
    first_name: str
    last_name: str
    company: str
    phone: str
    email: str
    city: str
    state_country: str
    other: str
    active: bool = True


class Conference(msgspec.Struct, frozen=True, gc=False):
    """Something to dial in to, as the answer path needs it.

    ``owners`` are the owners of the lists to ask, in order: organizer, authorization code, company.
    """

    id: str
    title: str
    passcode: Passcode
    organizer: str
    pin_entry: bool
    owners: tuple[Owner, ...]


class ListRevision(msgspec.Struct, frozen=True, gc=False):
    """One kept revision of a list, without its entries.

    ``created_at`` is in seconds since 1970 UTC, ``created_by`` names a user or `cli:` and a system user, ``source``
    is one of `import`, `upload`, `edit`, `restore`. The block has ``size`` bytes and is stored in ``parts``.
    """

    owner: Owner
    revision: Revision
    created_at: float
    created_by: str
    source: str
    entries: int
    active: int
    size: int
    parts: int
    key_id: str


class Kind(StrEnum):
    """What the feed of changes tells of."""

    LIST = "list"
    CONFERENCE = "conference"
    ORGANIZER = "organizer"
    SWITCH = "switch"
    UNLOCK = "unlock"
    """What the throttle counted under the key that is the ID is to be forgotten, up to the time of the change."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """Something is no longer as it was: it changed, came, or went. ``committed_at`` is in seconds since 1970 UTC."""

    kind: Kind
    id: str
    position: Position
    committed_at: float


class SwitchToken(msgspec.Struct, frozen=True, gc=False):
    """What a switch proves itself with. Only its SHA-256 is kept.

    ``created_at`` and ``expires_at`` are in seconds since 1970 UTC; a token without an end is the switch's newest.
    """

    hash: bytes
    created_at: float
    expires_at: float | None = None

    @property
    def fingerprint(self) -> str:
        """What it is called where it must not be shown: the first eight hexadecimal digits of its SHA-256."""
        return self.hash[:4].hex()

    def is_good(self, now: float) -> bool:
        return self.expires_at is None or now < self.expires_at


class Switch(msgspec.Struct, frozen=True, gc=False):
    """A telephone system that asks.

    ``tokens`` are in the order in which they were made. ``networks`` are where it may ask from, such as `192.0.2.0/24`;
    without any, from anywhere. ``rate`` is how many requests it may make a second: 0 for any number, None for what the
    setting `daemon.switch_rate` says.
    """

    id: str
    created_at: float
    tokens: tuple[SwitchToken, ...]
    networks: tuple[str, ...] = ()
    rate: int | None = None

    @classmethod
    def new(
        cls, switch_id: str, token_hash: bytes, now: float, networks: tuple[str, ...] = (), rate: int | None = None
    ) -> Self:
        """A switch as it begins: with one token."""
        return cls(switch_id, now, (SwitchToken(token_hash, now),), networks, rate)


class User(msgspec.Struct, frozen=True, gc=False):
    """Somebody who signs in on the web. Only an operator belongs to no company.

    `organizer_id` is whose conferences are this user's own; `authorization_code` is what an administrator is assigned
    to, or None for the whole company.
    """

    id: str
    company_id: str | None
    role: Role
    name: str
    email: str
    language: str | None
    organizer_id: str | None
    authorization_code: str | None


class Credential(msgspec.Struct, frozen=True, gc=False):
    """What a user signs in with. `totp_step` is the last time step (RFC 6238) whose code was used."""

    user_id: str
    password_hash: str | None = None
    totp_secret: bytes | None = None
    totp_key_id: str | None = None
    totp_step: int = 0
    changed_at: float = 0.0


class Session(msgspec.Struct, frozen=True, gc=False):
    """Somebody's browser. Of its secret only the SHA-256 is kept; `data` is JSON."""

    id_hash: bytes
    user_id: str | None
    created_at: float
    seen_at: float
    address: str
    agent: str
    data: str


class StagedUpload(msgspec.Struct, frozen=True, gc=False):
    """A list file that was uploaded and waits to be confirmed. `owners` are keys of owners."""

    id: str
    user_id: str
    created_at: float
    filename: str
    owners: tuple[str, ...]
    restore_zeros: bool
    key_id: str
    sealed: bytes


class AuditEntry(msgspec.Struct, frozen=True, gc=False):
    """Somebody did something. `target` is an owner's key or an ID; `detail` never holds a PIN."""

    at: float
    user_id: str
    company_id: str | None
    address: str
    action: str
    target: str
    detail: str = ""
    id: int = 0


class DaemonState(msgspec.Struct, frozen=True, gc=False):
    """What a daemon has told of itself. Times are in seconds since 1970 UTC."""

    id: str
    version: str
    started_at: float
    position: Position
    applied_at: float
    seen_at: float


def parse_pin(text: str) -> Pin:
    """Text becomes a PIN as it may stand in a list. Raises InvalidValue (without the text)."""
    if _PIN.fullmatch(text) is None:
        raise InvalidValue("a PIN has 2 to 10 digits")
    return Pin(text)


def parse_passcode(text: str) -> Passcode:
    """Text becomes a passcode. Raises InvalidValue."""
    if _PASSCODE.fullmatch(text) is None:
        raise InvalidValue("a passcode has 1 to 32 digits")
    return Passcode(text)


def parse_identifier(text: str) -> str:
    """Text becomes the ID of a company, organizer, conference, user or switch. Raises InvalidValue."""
    if _IDENTIFIER.fullmatch(text) is None:
        raise InvalidValue("an ID has 1 to 64 letters, digits, and . _ @ - between them")
    return text


def parse_authorization_code(text: str) -> str:
    """Text becomes an authorization code. Raises InvalidValue."""
    if _AUTHORIZATION_CODE.fullmatch(text) is None:
        raise InvalidValue("an authorization code has 1 to 32 letters and digits")
    return text


def parse_text(text: str, *, required: bool = True) -> str:
    """Text becomes a title or a name: stripped, no control characters, at most 200. Raises InvalidValue."""
    text = text.strip()
    if required and not text:
        raise InvalidValue("must not be empty")
    if len(text) > MAX_FIELD_LENGTH:
        raise InvalidValue(f"has more than {MAX_FIELD_LENGTH} characters")
    if _CONTROL.search(text):
        raise InvalidValue("holds a line break or another control character")
    return text
