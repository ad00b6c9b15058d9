"""Invitations: what they say, and the task that sends them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from admin.calendar_file import Event, calendar_file, uid_of
from admin.lists import Lists
from admin.metrics import Metrics
from admin.post import Attachment, MailError, Post, Trouble, is_mailable
from admin.words import Words, wrapped
from admin.worker import Worker
from loader.compiled import EMPTY, Block, pin_key
from loader.keyring import Keyring
from loader.model import Entry
from loader.store.choices import DialIn
from loader.store.invitations import Guest, Held, Invitation, Invitations

log = structlog.get_logger(__name__)

CHANGED: Final = "changed"
"""Why an invitation failed whose person is no longer in the list as he was, or whose conference is gone or asks it no more."""
GAVE_UP: Final = "gave_up"
"""Why one failed that the server did not take for a day."""
_PATIENCE: Final = 86400.0
"""Seconds after which an invitation that the server does not take has failed."""
_GRACE: Final = 60.0
"""Seconds beyond the longest time that a mail takes after which whoever sent it has stopped."""
_PAUSE: Final = ",,"
"""Four seconds: phones wait for two at each comma. RFC 3966 knows no pauses; those who dial do."""


class Letter(msgspec.Struct, frozen=True):
    """What is sent to one person."""

    subject: str
    text: str
    calendar: Attachment | None


def guest_of(entry: Entry) -> Guest:
    return Guest(entry.pin, entry.first_name, entry.last_name, entry.email)


def dial_string(number: DialIn, held: Held, pin: str) -> str:
    """One tap: the number, a pause, the passcode and #, a pause, the PIN and #."""
    dialled = re.sub(r"[^0-9+]", "", number.number)
    keyed = [held.passcode, pin] if held.pin_entry else [held.passcode]
    # A plain # would begin the fragment of the address (RFC 3986 section 3.5).
    return "tel:" + _PAUSE.join([dialled, *(f"{digits}%23" for digits in keyed)])


def letter(held: Held, guest: Guest, words: Words, made_at: float) -> Letter:
    """The invitation of one person. Where callers are not asked for a PIN it holds none."""
    _ = words._
    date = held.date
    parts = [
        _("Hello %(name)s,", name=f"{guest.first_name} {guest.last_name}"),
        _(
            "%(organizer)s invites you to the telephone conference “%(title)s”.",
            organizer=held.organizer_name,
            title=held.title,
        ),
    ]
    if date is not None:
        parts.append(words.span(date))
    parts.append(_how(held, guest, words))
    text = "\n\n".join(wrapped(part) for part in parts)
    closing = _(
        "Sent by Rollcall for %(organizer)s. Your answer to this mail goes to %(organizer)s.",
        organizer=held.organizer_name,
    )
    text = f"{text}\n\n-- \n{wrapped(closing)}\n"
    calendar = None
    if date is not None and is_mailable(held.organizer_email):
        event = Event(
            uid=uid_of(held.id, guest.first_name, guest.last_name, guest.email),
            made_at=made_at,
            date=date,
            title=held.title,
            description=_how(held, guest, words),
            location=held.dial_in[0].number if held.dial_in else "",
            organizer_name=held.organizer_name,
            organizer_email=held.organizer_email,
        )
        calendar = calendar_file(event)
    return Letter(_("Invitation: %(title)s", title=held.title), text, calendar)


def _how(held: Held, guest: Guest, words: Words) -> str:
    """How to join."""
    _ = words._
    if held.dial_in:
        parts = [_("Call one of these numbers:") if len(held.dial_in) > 1 else _("Call this number:")]
        parts.append("\n".join(f"  {one.number}  {one.label}".rstrip() for one in held.dial_in))
    else:
        parts = [_("Call the number of the conference that you know.")]
    if held.pin_entry:
        parts.append(_("When you are asked, key the passcode and #, and then your PIN and #."))
    else:
        parts.append(_("When you are asked, key the passcode and #."))
    keyed = [(_("Passcode"), held.passcode)]
    if held.pin_entry:
        keyed.append((_("Your PIN"), guest.pin))
    parts.append("\n".join(f"  {title}: {digits}" for title, digits in keyed))
    if held.dial_in:
        parts.append(_("On a mobile phone one tap does all of that:"))
        parts.append("\n".join(f"  {dial_string(one, held, guest.pin)}" for one in held.dial_in))
    if held.pin_entry:
        parts.append(_("The PIN is yours alone. Please do not pass it on."))
    return "\n\n".join(parts)


class Inviter(Worker):
    """Sends the invitations that wait, one after the other."""

    def __init__(
        self,
        invitations: Invitations,
        lists: Lists,
        keyring: Keyring,
        post: Post,
        metrics: Metrics,
        *,
        per_minute: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._invitations = invitations
        self._lists = lists
        self._keyring = keyring
        self._post = post
        self._metrics = metrics
        self._interval = 60.0 / per_minute
        self._now = now
        self._server_tries = 0

    async def step(self) -> float:
        """Send one, if one is due."""
        now = self._now()
        claimed = await self._invitations.claim(
            self._keyring, now, interval=self._interval, stale=now - self._post.limit - _GRACE
        )
        if isinstance(claimed, float):
            return claimed
        try:
            await self._send(claimed)
        except MailError as error:
            return await self._not_sent(claimed, error)
        self._server_tries = 0
        return max(0.0, now + self._interval - self._now())

    async def _send(self, one: Invitation) -> None:
        """Raises MailError."""
        held = await self._invitations.held(one.conference_id)
        if held is None or one.owner not in held.owners or not await self._is_as_it_was(one):
            await self._invitations.failed(one.id, CHANGED)
            self._metrics.mails.labels("invitation", "failed").inc()
            log.warning("invitation_failed", invitation=one.id, problem=CHANGED)
            return
        guest = one.guest
        made = letter(held, guest, Words(one.language), self._now())
        mail = self._post.compose(
            guest.email,
            made.subject,
            made.text,
            name=f"{guest.first_name} {guest.last_name}",
            reply_to=(held.organizer_name, held.organizer_email),
            attachments=() if made.calendar is None else (made.calendar,),
        )
        await self._post.send(mail)
        await self._invitations.sent(one.id, self._now())
        self._metrics.mails.labels("invitation", "sent").inc()

    async def _is_as_it_was(self, one: Invitation) -> bool:
        """Whether the list in force still has this PIN, active, for the same address."""
        block: Block = await self._lists.opened(one.owner) or EMPTY
        key = pin_key(one.guest.pin)
        at = None if key is None else block.find(key)
        return at is not None and block.is_active(at) and guest_of(block.entry(at)) == one.guest

    async def _not_sent(self, one: Invitation, error: MailError) -> float:
        """Note why; seconds until the next step. A server that cannot be used is left alone for a while."""
        now = self._now()
        wait = 60.0 * 2 ** min(one.attempts, 5)
        if not error.is_final and now + wait < one.queued_at + _PATIENCE:
            await self._invitations.later(one.id, now + wait)
            self._metrics.mails.labels("invitation", "delayed").inc()
            log.warning("invitation_delayed", invitation=one.id, problem=error.problem, trouble=error.trouble.value)
        else:
            why = error.trouble.value if error.is_final else GAVE_UP
            await self._invitations.failed(one.id, f"{why} {_without(error, one.guest.pin)}".strip())
            self._metrics.mails.labels("invitation", "failed").inc()
            log.warning("invitation_failed", invitation=one.id, problem=error.problem, trouble=error.trouble.value)
        if error.trouble is not Trouble.UNREACHABLE:
            self._server_tries = 0
            return self._interval
        self._server_tries += 1
        return max(self._interval, min(60.0, 2.0**self._server_tries))


def _without(error: MailError, pin: str) -> str:
    """What the server said, unless it repeats the PIN."""
    return error.problem if pin in error.reply else error.reply
