"""Mails handed to a real SMTP server, and what becomes of them."""

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import structlog

from admin.post import Attachment, MailError, Post, Trouble, is_mailable, mailable
from loader.sections import Mail
from tests.unit.admin.inbox import Inbox, certificate, listening, silent

INJECTED = "Weekly\r\nBcc: everybody@example.com\r\n\r\nbuy things"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with listening() as opened:
        yield opened


def post(port: int, **settings: object) -> Post:
    return Post(Mail(**({"host": "127.0.0.1", "port": port, "tls": "none", "timeout": 5.0} | settings)))  # type: ignore[arg-type]


def mail(sent_by: Post, to: str = "zoe@example.com") -> EmailMessage:
    return sent_by.compose(to, "Hello", "A text.\n")


async def trouble(sent_by: Post, to: str = "zoe@example.com") -> MailError:
    with pytest.raises(MailError) as raised:
        await sent_by.send(mail(sent_by, to))
    return raised.value


async def test_a_mail_arrives_with_its_letters_and_its_file_in_seven_bits(inbox: Inbox) -> None:
    sent_by = post(inbox.port)
    data = "\ufeffZoë;新\r\n".encode()
    made = sent_by.compose(
        "zoe@example.com",
        "Sitzung über 名簿",
        "Zoë, 名簿\n",
        name="Zoë Müller, 課長",
        reply_to=("Alicia", "alicia@example.com"),
        attachments=[Attachment("roll.csv", data, "csv")],
    )
    await sent_by.send(made)
    (arrived,) = inbox.mails
    assert inbox.received[0].content.isascii()
    assert arrived["Subject"] == "Sitzung über 名簿"
    assert arrived["To"].addresses[0].display_name == "Zoë Müller 課長"
    assert arrived["Reply-To"] == "Alicia <alicia@example.com>"
    text, file = arrived.walk() if not arrived.is_multipart() else list(arrived.iter_parts())
    assert text.get_content() == "Zoë, 名簿\r\n"
    assert (file.get_filename(), file.get_content_type()) == ("roll.csv", "text/csv")
    assert file.get_payload(decode=True) == data


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x0b", "\x85", "\u2028"])
async def test_no_name_or_title_becomes_a_header_of_its_own(inbox: Inbox, end: str) -> None:
    """Whatever stands for a line's end: the mail has the headers that it is to have, and one recipient."""
    sent_by = post(inbox.port)
    injected = INJECTED.replace("\r\n", end)
    made = sent_by.compose(
        "zoe@example.com",
        injected,
        "text\n",
        name=injected,
        reply_to=(injected, "alicia@example.com"),
        attachments=[Attachment("roll.csv", b"x", "csv")],
    )
    await sent_by.send(made)
    (arrived,) = inbox.mails
    assert "Bcc" not in arrived
    assert inbox.recipients_of_all == ["zoe@example.com"]
    assert set(arrived.keys()) == {
        "From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
        "X-Peer", "X-MailFrom", "X-RcptTo",
    } - {"X-Peer", "X-MailFrom", "X-RcptTo"}  # fmt: skip
    assert "buy things" in arrived["Subject"]


@pytest.mark.parametrize(
    "injected",
    [
        "=?utf-8?q?Weekly=0D=0ABcc:_everybody=40example.com=0D=0A=0D=0Abuy_things?=",
        "=?utf-8?q?Weekly=0ABcc:_everybody=40example.com?=",
        "=\x00?utf-8?b?V2Vla2x5DQpCY2M6IGV2ZXJ5Ym9keUBleGFtcGxlLmNvbQ==?=",
    ],
)
async def test_what_looks_like_an_encoded_word_is_not_decoded(inbox: Inbox, injected: str) -> None:
    """Such a title or name would bring line ends, and so headers and a text of its own."""
    sent_by = post(inbox.port)
    made = sent_by.compose(
        "zoe@example.com", injected, "text\n", name=injected, reply_to=(injected, "alicia@example.com")
    )
    await sent_by.send(made)
    (arrived,) = inbox.mails
    assert "Bcc" not in arrived
    assert arrived.get_content() == "text\r\n"
    assert arrived["Subject"].strip().startswith("= ?utf-8?")
    assert b"\nBcc:" not in inbox.received[0].content


@pytest.mark.parametrize("length", [60, 78, 200])
@pytest.mark.parametrize(
    "letter", ["x", "ü", "名", "x,", '"', "x y", "x@y.example, ", "ü,", "x.", "a <b@c.example>", "=?utf-8?q?=2C?= "]
)
async def test_long_names_are_folded_and_stay_one_name(inbox: Inbox, letter: str, length: int) -> None:
    sent_by = post(inbox.port)
    name = (letter * length)[:200].strip()
    await sent_by.send(sent_by.compose("zoe@example.com", name, "x\n", name=name))
    (arrived,) = inbox.mails
    assert [address.addr_spec for address in arrived["To"].addresses] == ["zoe@example.com"]
    assert arrived["Subject"].replace(" ", "") == name.replace(" ", "")
    assert max(map(len, inbox.received[0].content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "address",
    [
        "", "zoe", "@example.com", "zoe@", "zoe@example.com, bcc@example.com", "zoe@example.com;x@example.com",
        "zoe@example.com\r\nRCPT TO:<x@example.com>", "<zoe@example.com>", "Zoe <zoe@example.com>", "zoe @example.com",
        "zoe@exa mple.com", "zoe@@example.com", "zoë@example.com", ".zoe@example.com", "zoe..doe@example.com",
        '"zoe"@example.com', "zoe@[127.0.0.1]", "zoe@-example.com", "zoe@example..com", "zoe@example.com>", "zoe@a\x00b",
        "x" * 65 + "@example.com", "zoe@" + "a." * 130 + "com", "=?utf-8?q?=0A?=zoe@example.com",
    ],
)  # fmt: skip
def test_what_is_no_single_plain_address_gets_no_mail(address: str) -> None:
    assert not is_mailable(address)
    with pytest.raises(MailError) as raised:
        mail(post(1), address)
    assert (raised.value.trouble, raised.value.is_final) == (Trouble.ADDRESS, True)


def test_an_address_goes_out_in_ascii() -> None:
    assert mailable(" zoe.doe+1@bücher.example ") == "zoe.doe+1@xn--bcher-kva.example"
    assert mailable("root@localhost") == "root@localhost"


@pytest.mark.parametrize(
    ("answer", "expected", "is_final"),
    [
        ("550 5.1.1 no such user", Trouble.REFUSED, True),
        ("552 too large", Trouble.REFUSED, True),
        ("451 4.7.1 later, please", Trouble.LATER, False),
        ("421 closing", Trouble.UNREACHABLE, False),
    ],
)
@pytest.mark.parametrize("at", ["recipient", "content"])
async def test_what_the_server_answers_is_told_as_it_is(
    inbox: Inbox, at: str, answer: str, expected: Trouble, is_final: bool
) -> None:
    if at == "recipient":
        inbox.recipients["zoe@example.com"] = answer
    else:
        inbox.answers.append(answer)
    error = await trouble(post(inbox.port))
    assert (error.trouble, error.is_final, error.reply) == (expected, is_final, answer)
    assert error.problem == answer[:3]
    assert inbox.received == []


async def test_a_server_that_never_answers_is_given_up_after_its_time() -> None:
    with silent() as port:
        error = await trouble(post(port, timeout=0.05))
    assert error.trouble is Trouble.UNREACHABLE


async def test_a_server_that_is_not_there_is_told() -> None:
    with silent() as port:
        pass
    assert (await trouble(post(port))).trouble is Trouble.UNREACHABLE


async def test_a_server_that_says_nothing_once_it_has_the_mail_leaves_it_uncertain(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail may have been taken: it is not sent again by itself."""
    import asyncio

    async def never(self: Inbox, server: object, session: object, envelope: object) -> str:
        await asyncio.sleep(30)
        return "250 OK"

    monkeypatch.setattr(Inbox, "handle_DATA", never)
    error = await trouble(post(inbox.port, timeout=0.2))
    assert (error.trouble, error.is_final) == (Trouble.UNCERTAIN, True)


async def test_with_starttls_a_mail_goes_to_a_server_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", trusted)
    with listening(tls_context=context, require_starttls=True) as inbox:
        await post(inbox.port, tls="starttls").send(mail(post(inbox.port)))
        assert inbox.recipients_of_all == ["zoe@example.com"]


async def test_with_starttls_no_mail_goes_to_a_server_that_is_not_trusted_or_knows_no_tls(
    tmp_path: Path, inbox: Inbox
) -> None:
    context, _ = certificate(tmp_path)
    with listening(tls_context=context, require_starttls=True) as other:
        assert (await trouble(post(other.port, tls="starttls"))).trouble is Trouble.UNREACHABLE
        assert other.received == []
    assert (await trouble(post(inbox.port, tls="starttls"))).trouble is Trouble.UNREACHABLE
    assert inbox.received == []


async def test_without_a_server_a_mail_is_a_file_and_the_log_tells_nothing_of_it(tmp_path: Path) -> None:
    sent_by = Post(Mail(outbox=str(tmp_path / "outbox"), show=True))
    with structlog.testing.capture_logs() as logged:
        await sent_by.send(mail(sent_by))
        await sent_by.send(mail(sent_by))
    assert len(list((tmp_path / "outbox").iterdir())) == 2
    assert not sent_by.has_server
    assert "A text" not in str(logged)
