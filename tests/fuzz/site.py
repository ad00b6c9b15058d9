"""What is typed on the site and told by mail: dates, addresses, numbers, codes; calendar files and headers."""

from __future__ import annotations

import math
import string
from email import policy
from email.parser import BytesParser
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pyotp

from admin.calendar_file import Event, calendar_file
from admin.pages.audit import _day as day_of_audit
from admin.pages.conferences import read_date
from admin.pages.rolls import _day as day_of_rolls
from admin.passwords import password_problem
from admin.post import MailError, Post, is_mailable, one_line
from admin.security import number_of
from admin.signing import matching_step
from admin.words import WIDTH, Words, wrapped
from loader.errors import InvalidValue
from loader.model import LANGUAGES, parse_authorization_code, parse_identifier, parse_passcode, parse_text
from loader.sections import Mail
from loader.store.choices import MOST_DAYS, parse_dial_in, parse_keep_days
from loader.store.invitations import Date
from loader.tokens import token_hash, word_hash
from loader.webhooks import TargetError, may_be_called, parse_target
from tests.fuzz.harness import PART, Harness, parts
from tests.unit.admin.ics import event_of, parse

_SECRET: Final = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
_NOW: Final = 1_767_225_600.0
"""2026-01-01."""


def _texts(data: bytes, number: int) -> list[str]:
    return [part.decode("utf-8", "replace") for part in parts(data, number)]


def _typed(data: bytes) -> None:
    """Whatever is typed, each field is a value within its limits, or is told to be none."""
    first, second, third, fourth = _texts(data, 4)
    days = _tried(parse_keep_days, first)
    assert days is None or 1 <= days <= MOST_DAYS
    dial_in = _tried(parse_dial_in, first, second)
    assert dial_in is None or (len(dial_in.number) <= 40 and dial_in.number.isascii())
    number = number_of(first)
    assert number is None or (0 <= number < 10**9 and str(number) == first.lstrip("0").rjust(1, "0"))
    for day in (day_of_audit, _day_of_rolls_in_utc):
        begins, ends = day(first), day(first, after=True)
        assert begins is None or (math.isfinite(begins) and begins >= -62_135_596_800)
        assert begins is None or ends is None or ends - begins == 86400
    date, problems = read_date({"date": first, "time": second, "time_zone": third, "minutes": fourth}, _NOW)
    assert (date is None) is bool(problems)
    assert date is None or date.starts_at + date.minutes * 60 >= _NOW
    for kind in (parse_identifier, parse_authorization_code, parse_passcode, parse_text):
        value = _tried(kind, first)
        assert value is None or (value.encode() and len(value) <= 200)
    step = matching_step(_SECRET, first, _NOW)
    assert step is None or pyotp.TOTP(_SECRET).generate_otp(step) == first.replace(" ", "")
    password_problem(first, [second.casefold()])
    assert len(word_hash(first)) == 32


def _tried(kind: Any, *texts: str) -> Any:
    """The value, or None where there is none."""
    try:
        return kind(*texts)
    except InvalidValue:
        return None


def _day_of_rolls_in_utc(text: str, *, after: bool = False) -> float | None:
    """As rolls are searched by."""
    return day_of_rolls(text, ZoneInfo("UTC"), after=after)


def _target(data: bytes) -> None:
    """Where events may go: an address of the internet, over https; or the one error."""
    text = data.decode("utf-8", "replace")
    for private in (False, True):
        try:
            url = parse_target(text, private=private)
        except TargetError as error:
            assert error.code in ("url", "https", "private", "long")
            continue
        found = urlsplit(url)
        host = found.hostname or ""
        assert url.isascii()
        assert url.isprintable()
        assert " " not in url
        assert found.username is None
        assert host
        try:
            address = ip_address(host)
        except ValueError:
            address = None
        if not private:
            assert found.scheme == "https"
            assert host.rstrip(".") != "localhost"
            assert address is None or may_be_called(address, private=False)
            assert address is None or address.is_global


def _calendar(data: bytes) -> None:
    """A calendar file that a strict reader reads, with the very texts in it."""
    title, description, location, name = _texts(data, 4)
    zone = ("UTC", "Europe/Paris", "America/New_York")[len(data) % 3]
    date = Date(_NOW + 86_400 * (len(title) % 300), 1 + len(name), zone, _NOW)
    event = Event("uid@rollcall", _NOW, date, title, description, location, name, "org@example.com")
    read = parse(calendar_file(event).data)
    assert event_of(read).text("SUMMARY") == "\n".join(one_line(line) for line in title.split("\n"))
    assert event_of(read).text("DESCRIPTION") == "\n".join(one_line(line) for line in description.split("\n"))


_POST: Final = Post(Mail())
_HEADERS: Final = {
    "from", "to", "reply-to", "subject", "date", "message-id", "auto-submitted", "content-type", "mime-version",
    "content-transfer-encoding",
}  # fmt: skip


def _mail(data: bytes) -> None:
    """No text becomes a header of its own, or a recipient; lines of mails are wrapped where they may be."""
    to, subject, text, name = _texts(data, 4)
    try:
        mail = _POST.compose(to or "mike@example.com", subject, text, name=name, reply_to=(name, to))
    except MailError:
        assert not is_mailable(to)
        return
    assert is_mailable(to or "mike@example.com")
    sent = bytes(mail)
    assert sent.isascii()
    read = BytesParser(policy=policy.SMTP).parsebytes(sent)
    assert {header.lower() for header in read} <= _HEADERS
    assert len(read.get_all("To", [])) == 1
    assert len(mail["To"].addresses) == 1
    assert max(map(len, sent.split(b"\r\n"))) <= 998
    for line in wrapped(text.replace("\r", "")).split("\n"):
        assert len(line) <= WIDTH or line.startswith(" ") or " " not in line.strip()


def _languages(data: bytes) -> None:
    """Dates and tokens as texts, in every language."""
    text = data.decode("utf-8", "surrogateescape")
    assert len(token_hash(text.encode("utf-8", "replace").decode())) == 32
    seconds = float(int.from_bytes(data[:4], "big"))
    for language in LANGUAGES:
        words = Words(language)
        assert words.moment(seconds, "Europe/Paris")
        assert words.span(Date(seconds, 1 + len(data), "Asia/Tokyo", seconds))


_DATE: Final = PART.join((b"2026-03-04", b"10:30", b"Europe/Paris", b"60"))

HARNESSES: Final = {
    "typed": Harness(
        _typed,
        [
            _DATE,
            PART.join((b"9999-12-31", b"0001-01-01", b"UTC", b"999999999")),
            PART.join((b"+1 555 0100", b"Paris", b"", b"")),
            b"400",
            b"000000",
        ],
        [PART, b"-", b":", b"+", *(digit.encode() for digit in string.digits), b"\xd9\xa1", b"\xc2\xb2", b"UTC"],
        256,
    ),
    "target": Harness(
        _target,
        [b"https://example.com/rolls", b"http://127.0.0.1:80/x", b"https://[::ffff:10.0.0.1]/", b"https://10.1/"],
        [b"https://", b"http://", b"@", b"[", b"]", b"%", b"::", b"\\", b"localhost", b"0x7f", b"64:ff9b::", b"\t"],
        1100,
    ),
    "calendar": Harness(
        _calendar,
        [PART.join((b"Weekly; call, \\n", b"PIN\n1234", b"+1 555", b'Olive "O"'))],
        [PART, b"\r\n", b"\n", b"\\", b";", b",", b":", b'"', b"BEGIN:VEVENT", b"\xe2\x80\xa8", b"\xe4\xbc\x9a"],
        1024,
    ),
    "mail": Harness(
        _mail,
        [PART.join((b"mike@example.com", b"Hello", b"One line\nanother", "Zoë".encode()))],
        [PART, b"\r\nBcc: x@example.com", b"\n", b"<", b">", b",", b'"', b"=?utf-8?q?=0A?=", b"@", b"\xe4\xbc\x9a", b"\\"],
        1024,
    ),
    "languages": Harness(_languages, [b"\x69\x00\x00\x00"], (), 64),
}  # fmt: skip
