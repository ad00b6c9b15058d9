"""Rolls by mail: what such a mail says, and the task that sends them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from admin.metrics import Metrics
from admin.post import Attachment, MailError, Post
from admin.words import Words, wrapped
from admin.worker import Worker
from loader.keyring import Keyring
from loader.rollfile import roll_csv
from loader.store.roll_mail import Asked, Recipient, RollMail
from loader.store.rolls import Call, Ended, Occurrence, RollBook

log = structlog.get_logger(__name__)

NOBODY: Final = "nobody"
"""Why a roll was not sent whose organizer is gone."""
GAVE_UP: Final = "gave_up"
"""Why one was not sent that the server did not take for a day."""
_LOOK_EVERY: Final = 5.0
_CHOSEN_FOR: Final = 86400.0
"""Seconds after its end in which an occurrence is sent by itself."""
_PATIENCE: Final = 86400.0
"""Seconds after which a roll that the server does not take is given up."""
_GRACE: Final = 60.0
"""Seconds beyond the longest time that a mail takes after which whoever sent it has stopped."""


def roll_text(occurrence: Occurrence, calls: Sequence[Call], to: Recipient, words: Words, time_zone: str) -> str:
    """What stands in the mail; who was there stands in the file."""
    _ = words._
    if occurrence.ended_at is None:
        ended = _("still on when this was sent")
    else:
        ended = words.moment(occurrence.ended_at, time_zone)
    facts = [
        (_("Conference"), f"{occurrence.title} ({occurrence.conference_id})"),
        (_("Began"), words.moment(occurrence.started_at, time_zone)),
        (_("Ended"), ended),
        (_("Calls"), words.number(occurrence.admitted)),
        (_("People"), words.number(people(calls))),
    ]
    if occurrence.ended_at is None:
        facts.append((_("On the call now"), words.number(occurrence.present)))
    if occurrence.rejected:
        facts.append((_("Wrong PINs"), words.number(occurrence.rejected)))
    parts = [
        _("Hello %(name)s,", name=to.name),
        _("here is the roll of your conference. Who was there, and when, is in the file with this mail."),
        "\n".join(wrapped(f"{title}: {told}") for title, told in facts),
    ]
    noted = marks(calls, words)
    if noted:
        parts.append("\n".join(wrapped(f"* {mark}") for mark in noted))
    text = "\n\n".join(part if "\n" in part else wrapped(part) for part in parts)
    closing = _("Sent by Rollcall.")
    return f"{text}\n\n-- \n{closing}\n"


def people(calls: Sequence[Call]) -> int:
    """How many different people called, as far as one can tell: each call without a PIN is somebody else."""
    known = {(call.person_key_id, call.person) for call in calls if call.person is not None}
    return len(known) + sum(call.person is None for call in calls)


def marks(calls: Sequence[Call], words: Words) -> list[str]:
    """What deserves a second look, in words."""
    told = []
    twice = twice_at_once(calls)
    if twice:
        told.append(
            words.ngettext(
                "%(n)s PIN was used by two calls at the same time.",
                "%(n)s PINs were used by two calls at the same time.",
                twice,
            )
        )
    unnamed = sum(call.person is None for call in calls)
    # Where nobody has a PIN, nobody was asked for one.
    if 0 < unnamed < len(calls):
        told.append(
            words.ngettext("%(n)s call was let in without a PIN.", "%(n)s calls were let in without a PIN.", unnamed)
        )
    silent = sum(call.ended is Ended.SILENT for call in calls)
    if silent:
        told.append(
            words.ngettext(
                "Of %(n)s call it is not known when it ended.",
                "Of %(n)s calls it is not known when they ended.",
                silent,
            )
        )
    return told


def twice_at_once(calls: Sequence[Call]) -> int:
    """How many PINs were in use by two calls at the same time."""
    last: dict[tuple[str | None, bytes], float] = {}
    twice = set()
    for call in sorted(calls, key=lambda one: one.admitted_at):
        if call.person is None or call.ended is Ended.MOVED or (call.ended is Ended.SILENT and call.left_at is None):
            continue
        person = call.person_key_id, call.person
        if call.admitted_at < last.get(person, 0.0):
            twice.add(person)
        until = float("inf") if call.left_at is None else call.left_at
        last[person] = max(until, last.get(person, 0.0))
    return len(twice)


class RollSender(Worker):
    """Sends the rolls that were asked for, and asks for those that organizers have chosen to get."""

    def __init__(
        self,
        mail: RollMail,
        book: RollBook,
        keyring: Keyring,
        post: Post,
        metrics: Metrics,
        *,
        time_zone: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._mail = mail
        self._book = book
        self._keyring = keyring
        self._post = post
        self._metrics = metrics
        self._time_zone = time_zone
        self._now = now

    async def step(self) -> float:
        """Send one, if one is due."""
        now = self._now()
        await self._mail.ask_for_chosen(now - _CHOSEN_FOR, now)
        asked = await self._mail.claim(now, now - self._post.limit - _GRACE)
        if asked is None:
            return _LOOK_EVERY
        occurrence = await self._book.occurrence(asked.id)
        if occurrence is not None:
            await self._send(asked, occurrence)
        return 0.0

    async def _send(self, asked: Asked, occurrence: Occurrence) -> None:
        to = await self._mail.recipient(occurrence.organizer_id)
        if to is None:
            await self._failed(asked, NOBODY)
            return
        calls = await self._book.calls(self._keyring, occurrence.id)
        words = Words(to.language or "en")
        name = f"roll-{occurrence.conference_id}-{occurrence.id}.csv"
        file = await asyncio.to_thread(roll_csv, calls, self._time_zone)
        try:
            mail = self._post.compose(
                to.email,
                words._("Roll: %(title)s, %(date)s", title=occurrence.title, date=self._began(occurrence, words)),
                roll_text(occurrence, calls, to, words, self._time_zone),
                name=to.name,
                attachments=(Attachment(name, file, "csv"),),
            )
            await self._post.send(mail)
        except MailError as error:
            await self._not_sent(asked, error)
            return
        await self._book.sent(occurrence.id, self._now(), to.email)
        self._metrics.mails.labels("roll", "sent").inc()
        log.info("roll_sent", occurrence=occurrence.id)

    def _began(self, occurrence: Occurrence, words: Words) -> str:
        return words.moment(occurrence.started_at, self._time_zone)

    async def _not_sent(self, asked: Asked, error: MailError) -> None:
        now = self._now()
        wait = 30.0 * 2 ** min(asked.attempts, 6)
        if error.is_final:
            await self._failed(asked, error.told, error.problem)
        elif now + wait < asked.asked_at + _PATIENCE:
            await self._mail.later(asked.id, now + wait)
            self._metrics.mails.labels("roll", "delayed").inc()
            log.warning("roll_delayed", occurrence=asked.id, problem=error.problem, trouble=error.trouble.value)
        else:
            await self._failed(asked, f"{GAVE_UP} {error.reply}".strip(), error.problem)

    async def _failed(self, asked: Asked, why: str, problem: str = "") -> None:
        await self._mail.failed(asked.id, why)
        self._metrics.mails.labels("roll", "failed").inc()
        log.warning("roll_failed", occurrence=asked.id, problem=problem or why)
