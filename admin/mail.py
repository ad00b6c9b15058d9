"""Mail to users about their accounts: sent in the background, in memory alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Final, TypeAlias

import structlog

from admin.metrics import Metrics
from admin.post import MailError, Post
from loader.errors import DatabaseError

log = structlog.get_logger(__name__)

_TRIES: Final = 3

Job: TypeAlias = Callable[[], Awaitable[None]]


class Mailer:
    """Sends mail one after the other, in the background: no page waits for a server."""

    def __init__(self, post: Post, metrics: Metrics, *, show: bool = False) -> None:
        self._post = post
        self._metrics = metrics
        self._show = show
        self._waiting: asyncio.Queue[EmailMessage | Job] = asyncio.Queue(1000)

    def send(self, to: str, subject: str, text: str) -> None:
        """Hand a mail over to be sent. One too many, or to no address, is dropped, and told of in the log."""
        try:
            self._put(self._post.compose(to, subject, text))
        except MailError as error:
            log.error("mail_dropped", problem=type(error).__name__)

    def later(self, job: Job) -> None:
        """Do what may send mails after the answer that it was asked for with. One too many is dropped, as a mail is."""
        self._put(job)

    def _put(self, waiting: EmailMessage | Job) -> None:
        try:
            self._waiting.put_nowait(waiting)
        except asyncio.QueueFull as error:
            log.error("mail_dropped", problem=type(error).__name__)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            waiting = await self._waiting.get()
            if isinstance(waiting, EmailMessage):
                await self._send(waiting)
            else:
                try:
                    await waiting()
                except DatabaseError as error:
                    log.error("mail_dropped", problem=str(error))
            self._waiting.task_done()

    async def _send(self, mail: EmailMessage) -> None:
        for attempt in range(_TRIES):
            try:
                await self._post.send(mail, show=self._show)
            except MailError as error:
                log.warning("mail_failed", problem=error.problem or error.trouble.value, attempt=attempt + 1)
                self._metrics.mails.labels("account", "delayed").inc()
                await asyncio.sleep(2**attempt)
            else:
                self._metrics.mails.labels("account", "sent").inc()
                return
        log.error("mail_dropped", message_id=mail["Message-ID"])
        self._metrics.mails.labels("account", "failed").inc()

    async def drained(self) -> None:
        """Wait until all that was handed over is sent or dropped."""
        await self._waiting.join()
