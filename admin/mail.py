"""Mail to users about their accounts: sent in the background, in memory alone."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from typing import Final

import structlog

from admin.metrics import Metrics
from admin.post import MailError, Post

log = structlog.get_logger(__name__)

_TRIES: Final = 3


class Mailer:
    """Sends mail one after the other, in the background: no page waits for a server."""

    def __init__(self, post: Post, metrics: Metrics, *, show: bool = False) -> None:
        self._post = post
        self._metrics = metrics
        self._show = show
        self._waiting: asyncio.Queue[EmailMessage] = asyncio.Queue(1000)

    def send(self, to: str, subject: str, text: str) -> None:
        """Hand a mail over to be sent. One too many, or to no address, is dropped, and told of in the log."""
        try:
            self._waiting.put_nowait(self._post.compose(to, subject, text))
        except (asyncio.QueueFull, MailError) as error:
            log.error("mail_dropped", problem=type(error).__name__)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            mail = await self._waiting.get()
            for attempt in range(_TRIES):
                try:
                    await self._post.send(mail, show=self._show)
                except MailError as error:
                    log.warning("mail_failed", problem=error.problem or error.trouble.value, attempt=attempt + 1)
                    self._metrics.mails.labels("account", "delayed").inc()
                    await asyncio.sleep(2**attempt)
                else:
                    self._metrics.mails.labels("account", "sent").inc()
                    break
            else:
                log.error("mail_dropped", message_id=mail["Message-ID"])
                self._metrics.mails.labels("account", "failed").inc()
            self._waiting.task_done()

    async def drained(self) -> None:
        """Wait until all that was handed over is sent or dropped."""
        await self._waiting.join()
