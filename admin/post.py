"""Mails are made, and handed to the SMTP server: once, with what came of it told plainly."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiosmtplib
import msgspec
import structlog

from loader.errors import RollcallError, SettingsError
from loader.sections import Mail

log = structlog.get_logger(__name__)

_POLICY: Final = SMTP.clone(cte_type="7bit")
"""Any server takes seven bits."""
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_NOT_FOR_A_LINE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TO_BE_QUOTED: Final = re.compile(r'[()<>\[\]:;@\\,"]')
_MAX_REPLY: Final = 120


class Trouble(StrEnum):
    """Why a mail was not sent."""

    ADDRESS = "address"
    """It is no address that a mail can be sent to."""
    UNREACHABLE = "unreachable"
    """The server cannot be used now: no mail can be sent."""
    LATER = "later"
    """The server refuses this mail for now."""
    REFUSED = "refused"
    """The server refuses this mail for good."""
    UNCERTAIN = "uncertain"
    """The server was given the mail and did not say whether it took it."""


class MailError(RollcallError):
    """A mail was not sent. `reply` is what the server said, on one line; it may repeat parts of the mail.

    `problem` is what a log may hold: the reply's code, or the name of what broke.
    """

    def __init__(self, trouble: Trouble, problem: str = "", reply: str = "") -> None:
        super().__init__(trouble.value)
        self.trouble = trouble
        self.problem = problem
        self.reply = reply

    @property
    def told(self) -> str:
        """The word for it, and what the server said."""
        return f"{self.trouble.value} {self.reply}".strip()

    @property
    def is_final(self) -> bool:
        """Whether it makes no sense to try again."""
        return self.trouble not in (Trouble.UNREACHABLE, Trouble.LATER)


class Attachment(msgspec.Struct, frozen=True):
    """A file of UTF-8 text that goes with a mail. `subtype` is what follows `text/`."""

    name: str
    data: bytes
    subtype: str
    parameters: dict[str, str] = {}


class Post:
    """Hands mails to the server of the settings; without one they become files in the outbox."""

    def __init__(self, settings: Mail) -> None:
        self._settings = settings
        self._password = read_secret(settings.password_file)
        self.limit = 4 * settings.timeout
        """Seconds that a mail takes at most, whatever the server does."""

    @property
    def has_server(self) -> bool:
        return bool(self._settings.host)

    def compose(
        self,
        to: str,
        subject: str,
        text: str,
        *,
        name: str = "",
        reply_to: tuple[str, str] | None = None,
        attachments: Sequence[Attachment] = (),
    ) -> EmailMessage:
        """A mail. What stands in its headers is one line, whatever it is made of. Raises MailError for the address.

        `reply_to` is a name and an address; one that cannot be used is left out.
        """
        mail = EmailMessage(policy=_POLICY)
        mail["From"] = self._settings.sender
        mail["To"] = Address(_display_name(name), addr_spec=mailable(to))
        if reply_to is not None:
            with suppress(MailError):
                mail["Reply-To"] = Address(_display_name(reply_to[0]), addr_spec=mailable(reply_to[1]))
        mail["Subject"] = _header_text(subject)
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="rollcall.invalid")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text)
        for attached in attachments:
            mail.add_attachment(
                attached.data,
                maintype="text",
                subtype=attached.subtype,
                filename=attached.name,
                params={"charset": "utf-8"} | attached.parameters,
            )
        return mail

    async def send(self, mail: EmailMessage, *, show: bool = False) -> None:
        """Send it, once. Raises MailError. `show` has what becomes a file told in the log too."""
        if not self._settings.host:
            file = await asyncio.to_thread(_write, Path(self._settings.outbox), mail)
            shown = {"to": mail["To"], "text": mail.get_content()} if show else {}
            log.info("mail_written", file=str(file), **shown)
            return
        (to,) = mail["To"].addresses
        handing = _Handing(self._settings, self._password)
        try:
            async with asyncio.timeout(self.limit):
                await handing.over(to.addr_spec, bytes(mail))
        except (aiosmtplib.SMTPException, OSError) as error:
            # A TimeoutError is an OSError.
            raise handing.trouble(error) from None
        log.info("mail_sent", message_id=mail["Message-ID"])


class _Handing:
    """One conversation with the server, and how far it has come."""

    def __init__(self, settings: Mail, password: str) -> None:
        self._settings = settings
        self._password = password
        self._is_about_this_mail = False
        self._is_given = False

    async def over(self, to: str, content: bytes) -> None:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            username=settings.user or None,
            password=self._password or None,
            timeout=settings.timeout,
        )
        try:
            await client.connect()
            await client.mail(parseaddr(settings.sender)[1])
            self._is_about_this_mail = True
            await client.rcpt(to)
            self._is_given = True
            await client.data(content)
            # What is taken is taken, whatever the server does now.
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=min(1.0, settings.timeout))
        finally:
            client.close()

    def trouble(self, error: Exception) -> MailError:
        """What an error means, as far as the conversation had come."""
        if not isinstance(error, aiosmtplib.SMTPResponseException):
            return MailError(Trouble.UNCERTAIN if self._is_given else Trouble.UNREACHABLE, type(error).__name__)
        problem, reply = str(error.code), one_line(f"{error.code} {error.message}")[:_MAX_REPLY]
        # Closing down (421, RFC 5321 section 4.2.1), and whatever comes before the recipient, is about the server.
        if error.code == 421 or not self._is_about_this_mail:
            return MailError(Trouble.UNREACHABLE, problem, reply)
        return MailError(Trouble.LATER if error.code < 500 else Trouble.REFUSED, problem, reply)


def mailable(address: str) -> str:
    """An address as it goes on the wire: ASCII, the domain in its IDNA form. Raises MailError(ADDRESS).

    Stricter than RFC 5322: no quotes, comments, names or address literals, and one address alone. Nor what looks like
    an encoded word, as Python's email package decodes it in addresses too.
    """
    local, at, domain = address.strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise MailError(Trouble.ADDRESS) from None
    known = at and len(local) <= 64 and len(domain) <= 253 and "=?" not in local
    if not known or _LOCAL.fullmatch(local) is None or _DOMAIN.fullmatch(domain) is None:
        raise MailError(Trouble.ADDRESS)
    return f"{local}@{domain}"


def is_mailable(address: str) -> bool:
    """Whether a mail can be sent there."""
    try:
        mailable(address)
    except MailError:
        return False
    return True


def one_line(text: str) -> str:
    """Text without line breaks and other control characters, for a header."""
    return _NOT_FOR_A_LINE.sub(" ", text).strip()


def _header_text(text: str) -> str:
    """One line that means what it says: Python's email package decodes what looks like an encoded word (RFC 2047
    section 2), and writes the line breaks that were in it as they are.
    """
    return one_line(text).replace("=?", "= ?")


def _display_name(name: str) -> str:
    """A name as it stands before an address, without what would have to be quoted (RFC 5322 section 3.2.3).

    Python's email package loses the quotes of a name that is long enough to be folded: a comma would make two
    addresses of it.
    """
    return " ".join(_TO_BE_QUOTED.sub(" ", _header_text(name)).split())


def read_secret(file: str) -> str:
    """A secret from a file of its own. Raises SettingsError."""
    if not file:
        return ""
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None


def _write(folder: Path, mail: EmailMessage) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{time.time_ns()}-{os.getpid()}.eml"
    file.touch(mode=0o600, exist_ok=False)
    file.write_bytes(bytes(mail))
    return file
