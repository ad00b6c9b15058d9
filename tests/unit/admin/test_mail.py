"""Mail goes to a real SMTP server, in the background."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiosmtpd.controller import Controller

from admin.mail import Mailer
from admin.metrics import Metrics
from admin.post import Post
from loader.errors import SettingsError
from loader.sections import Mail


class Inbox:
    """Takes every mail, or refuses the first ones."""

    def __init__(self) -> None:
        self.refuse = 0
        self.received: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuse:
            self.refuse -= 1
            return "451 later"
        self.received.append(envelope)
        return "250 OK"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield inbox, port
    controller.stop()


async def running(settings: Mail) -> AsyncIterator[Mailer]:
    mailer = Mailer(Post(settings), Metrics("0"), show=settings.show)
    task = asyncio.create_task(mailer.run())
    yield mailer
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_mail_arrives_with_its_letters(inbox: tuple[Inbox, int]) -> None:
    taken, port = inbox
    async for mailer in running(Mail(host="127.0.0.1", port=port, tls="none")):
        mailer.send("zoe@example.com", "新しいパスワード", "Zoë, 名簿\n")
        async with asyncio.timeout(10):
            await mailer.drained()
    (envelope,) = taken.received
    assert envelope.rcpt_tos == ["zoe@example.com"]
    assert b"Auto-Submitted: auto-generated" in envelope.content


async def test_a_server_that_refuses_for_now_is_asked_again(
    inbox: tuple[Inbox, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, port = inbox
    taken.refuse = 1
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr("admin.mail.asyncio.sleep", sleep)
    with structlog.testing.capture_logs() as logged:
        async for mailer in running(Mail(host="127.0.0.1", port=port, tls="none")):
            mailer.send("zoe@example.com", "x", "y")
            async with asyncio.timeout(10):
                await mailer.drained()
    assert len(taken.received) == 1
    assert [line["event"] for line in logged] == ["mail_failed", "mail_sent"]
    assert 1 in slept


@pytest.mark.parametrize("show", [True, False])
async def test_without_a_server_mail_is_written_to_files_that_nobody_else_reads(tmp_path: Path, show: bool) -> None:
    """And shown in the log where that is wished, as in the demo."""
    with structlog.testing.capture_logs() as logged:
        async for mailer in running(Mail(outbox=str(tmp_path / "outbox"), show=show)):
            mailer.send("zoe@example.com", "x", "a link")
            await mailer.drained()
    assert (logged[0].get("text") == "a link\n") == show
    (file,) = (tmp_path / "outbox").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_password_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Post(Mail(host="x", password_file=str(tmp_path / "none")))
