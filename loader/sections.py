"""What can be set: one class a section of the settings, each field with its default, its unit and its limits."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from loader.model import MAX_SWITCH_RATE

Port = Annotated[int, Meta(ge=0, le=65535)]
"""A TCP or UDP port; 0 lets the system choose one (for tests)."""

Seconds = Annotated[float, Meta(ge=0, le=86400)]
Limit = Annotated[int, Meta(ge=0, le=1_000_000)]
Text = Annotated[str, Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the file."""


class Database(Section, frozen=True):
    url: Text = "sqlite:///var/rollcall.db"
    """`sqlite:///relative/path`, `sqlite:////absolute/path`."""


class Key(Section, frozen=True):
    file: Text = "var/rollcall.key"
    """The file with the keys that lists are encrypted under; never in the database, never in its backup."""


class Tls(Section, frozen=True):
    """Encryption of a port: without a certificate there is none."""

    certificate: str = ""
    """The file with the certificate, and behind it those that lead to its authority (PEM)."""
    key: str = ""
    """The file with the certificate's private key (PEM), without a password."""
    client_ca: str = ""
    """The file with the authorities (PEM) one of which must have signed a client's certificate; empty: none is asked for."""


class Daemon(Section, frozen=True):
    host: Text = "127.0.0.1"
    port: Port = 8470
    ops_host: Text = "127.0.0.1"
    ops_port: Port = 9470
    poll_interval: Annotated[float, Meta(ge=0.01, le=0.5)] = 0.1
    """Seconds between two looks at the feed of changes."""
    stale_after: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    """Seconds without a successful look at the feed after which `/readyz` says so."""
    drain_timeout: Seconds = 10.0
    """Seconds that requests under way have to finish after SIGTERM."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that answer switches over HTTP on the one port; one for each core that is to work for it."""
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Connections that each port over HTTP has at most. For one more, those go that were idle for longest.

    Several workers have an equal part of them each.
    """
    idle_timeout: Annotated[float, Meta(ge=1, le=86400)] = 900.0
    """Seconds without a question after which a connection is closed: more than switches keep one for."""
    head_timeout: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    """Seconds in which the head of a question must have come once it has begun."""
    at_once: bool = True
    """Whether plain questions are answered where they are parsed; off, each waits for its connection's task."""
    tls: Tls = Tls()
    switch_rate: Annotated[int, Meta(ge=0, le=MAX_SWITCH_RATE)] = 0
    """Requests a second of a switch that has no rate of its own; 0 for any number."""


class Admin(Section, frozen=True):
    host: Text = "127.0.0.1"
    port: Port = 8471
    ops_host: Text = "127.0.0.1"
    ops_port: Port = 9471
    url: str = ""
    """Where browsers find the site; `http://<host>:<port>` if empty, or `https` if the site has a certificate itself.

    With `https` cookies are sent over nothing else.
    """
    behind_proxy: bool = False
    """Whether a proxy of your own stands in front, whose last `X-Forwarded-For` address is believed."""
    time_zone: Text = "UTC"
    """In which times are shown, such as `Europe/Paris`."""
    idle_timeout: Annotated[float, Meta(ge=60, le=86400)] = 1800.0
    """Seconds without a click after which one is signed out."""
    session_timeout: Annotated[float, Meta(ge=60, le=604800)] = 43200.0
    """Seconds after signing in after which one is signed out, clicks or not."""
    second_factor: bool = True
    """Whether super-administrators and operators must have a second factor."""
    second_factor_for_all: bool = False
    """Whether everybody else must have one too."""
    breached_passwords: str = ""
    """A file of the SHA-1 hashes of passwords that are known to thieves, in their order; none if empty."""
    privacy_policy: Text = "1"
    """The version of the privacy policy that is agreed to with each upload."""
    tls: Tls = Tls()

    @property
    def address(self) -> str:
        """Where browsers find the site, without a slash at the end."""
        scheme = "https" if self.tls.certificate else "http"
        return self.url.rstrip("/") or f"{scheme}://{self.host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the site by https."""
        return self.address.startswith("https:")


class Mail(Section, frozen=True):
    host: str = ""
    """The SMTP server; without one, mail is written to files in `outbox`."""
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: str = ""
    sender: Text = "rollcall@example.com"
    outbox: Text = "var/outbox"
    show: bool = False
    """Whether mail that is written to a file is shown in the log too, one-time links and all. For a demo."""
    timeout: Annotated[float, Meta(gt=0, le=120)] = 20.0
    """Seconds that the server has for each of its answers."""
    per_minute: Annotated[int, Meta(ge=1, le=60_000)] = 120
    """How many invitations are sent in a minute, by all processes of the web site together."""


class Oidc(Section, frozen=True):
    """Sign-in by OpenID Connect. Without an issuer there is none."""

    issuer: str = ""
    client_id: str = ""
    client_secret_file: str = ""
    claim: Text = "preferred_username"
    """The claim of the ID token that names the user of Rollcall."""
    label: Text = "OpenID Connect"
    """What the button says."""


class Roll(Section, frozen=True):
    """Who joined."""

    journal: Text = "var/journal"
    """The daemon's folder for what is not yet in the database. Daemons of one machine share it."""
    durability: Literal["system", "disk"] = "system"
    """Where an accepted verification must be before it is answered: with the operating system, which has it on the disk
    within a twentieth of a second, whatever becomes of the daemon; or on the disk already, for which each caller waits."""
    journal_limit: Annotated[int, Meta(ge=1_000_000, le=1 << 40)] = 1 << 28
    """Bytes that may wait for the database."""
    quiet: Annotated[float, Meta(gt=0, le=86400)] = 120.0
    """Seconds after the last has left until an occurrence is over."""
    call_timeout: Annotated[float, Meta(ge=60, le=604800)] = 14400.0
    """Seconds after which a call that nothing was heard of is taken to be over."""
    keep_days: Annotated[int, Meta(ge=1, le=36500)] = 400
    """Days after its end that a roll is kept, where a company has not chosen otherwise."""
    webhook_private: bool = False
    """Whether companies may have events sent to private networks and to this machine: for an installation of your own."""


class Throttle(Section, frozen=True):
    """How often one may guess. A limit of 0 counts nothing."""

    file: Text = "var/throttle"
    """The daemon's file of what was counted. Daemons of one machine share it."""
    memory: Annotated[int, Meta(ge=1 << 20, le=1 << 36)] = 1 << 25
    """Bytes of counters. When they are full, those that matter least give way."""
    call_limit: Limit = 3
    """Wrong tries of one call."""
    caller_limit: Limit = 5
    """Wrong tries in a row of one number at one conference; and of one number at passcodes."""
    withheld_limit: Limit = 20
    """The same of all together who withhold their number."""
    conference_limit: Limit = 50
    """Wrong tries at one conference, of all callers together who have not shown a PIN of it before."""
    switch_limit: Limit = 1000
    """Wrong tries over one switch, of all such callers together."""
    known_limit: Limit = 20
    """Wrong tries of one who has shown a PIN, until he is held to be a stranger."""
    first_wait: Annotated[float, Meta(ge=1, le=86400)] = 30.0
    """Seconds of the first wait; each further wrong try doubles it."""
    longest_wait: Annotated[float, Meta(ge=1, le=86400)] = 3600.0
    """Seconds of the longest wait."""
    most_failures: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Wrong tries in a row after which a caller waits until somebody unlocks him."""
    forgiven_every: Annotated[float, Meta(ge=1, le=31_536_000)] = 3600.0
    """Seconds in which one wrong try at a conference, of the withheld, or of a known caller is forgiven."""
    switch_forgiven_every: Annotated[float, Meta(gt=0, le=86400)] = 1.0
    """Seconds in which one wrong try over a switch is forgiven."""


class Lists(Section, frozen=True):
    guessable_share: Annotated[float, Meta(gt=0, le=1)] = 0.001
    """The chance of one random guess above which a list is warned of."""


class Logs(Section, frozen=True):
    format: Literal["auto", "json", "text"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
