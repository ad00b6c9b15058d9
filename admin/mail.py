"""Mail to users: by SMTP, or to files where no server is set."""

from __future__ import annotations

import asyncio
import time
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Final

import aiosmtplib
import structlog

from loader.errors import RollcallError, SettingsError
from loader.sections import Mail

log = structlog.get_logger(__name__)

_TRIES: Final = 3


class MailError(RollcallError):
    """A mail could not be handed over."""


class Mailer:
    """Sends mail one after the other, in the background: no page waits for a server."""

    def __init__(self, settings: Mail) -> None:
        self._settings = settings
        self._password = read_secret(settings.password_file)
        self._waiting: asyncio.Queue[EmailMessage] = asyncio.Queue(1000)

    def send(self, to: str, subject: str, text: str) -> None:
        """Hand a mail over to be sent. One too many is dropped, and told of in the log."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._settings.sender, to, subject
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="rollcall.invalid")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text)
        try:
            self._waiting.put_nowait(mail)
        except asyncio.QueueFull:
            log.error("mail_dropped", message_id=mail["Message-ID"])

    async def run(self) -> None:
        """Send for ever."""
        while True:
            mail = await self._waiting.get()
            for attempt in range(_TRIES):
                try:
                    await self._deliver(mail)
                    break
                except (aiosmtplib.SMTPException, OSError) as error:
                    log.warning("mail_failed", problem=type(error).__name__, attempt=attempt + 1)
                    await asyncio.sleep(2**attempt)
            else:
                log.error("mail_dropped", message_id=mail["Message-ID"])
            self._waiting.task_done()

    async def drained(self) -> None:
        """Wait until all that was handed over is sent or dropped."""
        await self._waiting.join()

    async def _deliver(self, mail: EmailMessage) -> None:
        settings = self._settings
        if not settings.host:
            file = await asyncio.to_thread(_write, Path(settings.outbox), mail)
            shown = {"to": mail["To"], "text": mail.get_content()} if settings.show else {}
            log.info("mail_written", file=str(file), **shown)
            return
        await aiosmtplib.send(
            mail,
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            username=settings.user or None,
            password=self._password or None,
            timeout=settings.timeout,
        )
        log.info("mail_sent", message_id=mail["Message-ID"])


def _write(folder: Path, mail: EmailMessage) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{time.time_ns()}.eml"
    file.touch(mode=0o600)
    file.write_bytes(bytes(mail))
    return file


def read_secret(file: str) -> str:
    """A secret from a file of its own. Raises SettingsError."""
    if not file:
        return ""
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
