"""What FastAGI scripts do with a call, command by command. Pure: whoever runs them sends and listens.

A script is a generator: it yields a command with the seconds that Asterisk has for it, and is sent the reply.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple, TypeAlias

from daemon.doors.agi_protocol import NotAgi, Reply, assign, fetch, fetched, get_data, is_variable, stream_file
from daemon.doors.dialogue import UNAVAILABLE, Admit, Ask, Dismiss, Prompt, Step, begin, heard
from daemon.verify import ACCEPTED, REJECTED, Verification
from loader.door_sections import FastAgi
from loader.index import MAX_KEYED, Decision

ERROR: Final = "error"
"""The result when nobody has decided."""
MALFORMED: Final = "malformed"
UNKNOWN_SCRIPT: Final = "unknown_script"
UNFINISHED: Final = "unfinished"
"""Why there is no decision of a dialogue that was broken off."""

_VARIABLE: Final = "var:"
_ESCAPE_DIGITS: Final = "0123456789*"
"""Without `#`: what is left of the last entry must not cut the next prompt short."""
_PIN_DIGITS: Final = 10
_DEAD: Final = 511
"""Asterisk's code for a command that a channel cannot do after its caller has hung up."""
_NOTHING_DONE: Final = "-1"
_LONGEST_SOUND: Final = 60.0
"""Seconds that a prompt may last."""


class Command(NamedTuple):
    """A line to be sent, and the seconds that its reply may take."""

    line: bytes
    seconds: float


class HungUp(Exception):
    """The caller is gone."""


Script: TypeAlias = Generator[Command, Reply, None]


class Call(NamedTuple):
    """What a script has to do with.

    `decide` decides over a passcode and a PIN of this call, or cannot (None). `dropped` counts why nobody was asked.
    `missing` hears of prompts that Asterisk has no sound for.
    """

    settings: FastAgi
    decide: Callable[[str, str], Verification | None]
    dropped: Callable[[str], None]
    missing: Callable[[Prompt], None]


class Verdict(NamedTuple):
    """What is set as variables of the channel, in this order: what admits comes last."""

    reason: str = ""
    first_name: str = ""
    last_name: str = ""
    company: str = ""
    conference_id: str = ""
    level: str = ""
    retry_after: str = ""
    attempts_left: str = ""
    result: str = ERROR


_NAMES: Final = ",".join(f"ROLLCALL_{field.upper()}" for field in Verdict._fields)


def verdict_of(decision: Decision) -> Verdict:
    """What a dialplan is told of a decision."""
    if decision.reason is not None or decision.conference is None:
        return Verdict(
            decision.reason or UNAVAILABLE,
            retry_after=_number(decision.retry_after),
            attempts_left=_number(decision.attempts_left),
            result=REJECTED,
        )
    who = decision.participant
    first_name, last_name, company = (who.first_name, who.last_name, who.company) if who else ("", "", "")
    return Verdict("", first_name, last_name, company, decision.conference.id, decision.level or "", "", "", ACCEPTED)


def verify(arguments: Sequence[str], call: Call) -> Script:
    """Says whether these two, a passcode and a PIN, are valid: each as it is, or as `var:` and a variable's name."""
    names = [given[len(_VARIABLE) :] for given in arguments if given.startswith(_VARIABLE)]
    if len(arguments) != 2 or not all(map(is_variable, names)):
        yield from refuse(MALFORMED, call)
        return
    # Also where there is nothing to fetch: so nothing is decided over arguments that were made up by a caller's name.
    mark = secrets.token_hex(8)
    reply = yield Command(fetch(mark, names), call.settings.reply_timeout)
    values = fetched(mark, names, reply)
    passcode, pin = values if len(names) == 2 else [one if one[:4] != _VARIABLE else values[0] for one in arguments]
    if len(passcode) > MAX_KEYED or len(pin) > MAX_KEYED:
        yield from refuse(MALFORMED, call)
        return
    verification = call.decide(passcode, pin)
    verdict = Verdict(UNAVAILABLE) if verification is None else verdict_of(verification.decision)
    _well((yield Command(assign(_NAMES, verdict), call.settings.reply_timeout)))


def ivr(call: Call) -> Script:
    """Asks the caller for passcode and PIN, says what came of it, and bids those farewell who are not let in."""
    # First: then nothing from before is left, wherever it is broken off.
    yield from _tell(Verdict(UNFINISHED), call)
    listener = _Listener(call)
    step: Step = begin()
    while isinstance(step, Ask):
        entry = yield from listener.asked(step)
        step = heard(step.state, entry, call.decide)
    if isinstance(step, Admit):
        yield from _tell(verdict_of(step.verification.decision), call)
        return
    yield from _tell(_dismissal(step), call)
    for prompt in step.say:
        yield from listener.played(prompt)


def refuse(why: str, call: Call) -> Script:
    """Says that nobody decides over this."""
    call.dropped(why)
    yield from _tell(Verdict(why), call)


def _tell(verdict: Verdict, call: Call) -> Script:
    _well((yield Command(assign(_NAMES, verdict), call.settings.reply_timeout)))


def _dismissal(step: Dismiss) -> Verdict:
    result = ERROR if step.reason == UNAVAILABLE else REJECTED
    return Verdict(step.reason, retry_after=_number(step.retry_after), result=result)


class _Listener:
    """Plays prompts to a caller, and hears what he keys."""

    def __init__(self, call: Call) -> None:
        self._settings = call.settings
        self._missing = call.missing
        self._is_full = False
        """Whether the last entry ended because there was no room for more: a `#` may follow it."""
        self._unplayed: list[Prompt] = []
        """Prompts that were not played, as the caller or the sound was not there."""

    def asked(self, ask: Ask) -> Generator[Command, Reply, str]:
        """What the caller keyed, from his last `*` on; empty if nothing."""
        most = 1 + (_PIN_DIGITS if ask.state.passcode else MAX_KEYED)
        entry = ""
        for prompt in ask.say[:-1]:
            if not entry:
                entry = yield from self.played(prompt, _ESCAPE_DIGITS)
        # Who keys already needs no prompt.
        last = None if entry else ask.say[-1]
        was_full, self._is_full = self._is_full and not entry, False
        while (wanted := most - len(entry)) > 0:
            reply = _well((yield self._get_data(last, wanted)))
            if reply.result == _NOTHING_DONE:
                if last is None:
                    raise HungUp
                # The caller may be gone, or the sound may not be there: ask once more without it.
                self._unplayed.append(last)
                last = None
                continue
            while self._unplayed:
                self._missing(self._unplayed.pop())
            is_over = reply.told == "timeout"
            if was_full and not reply.result and not is_over:
                was_full = False
                continue
            entry, last = (entry + reply.result).rpartition("*")[2], None
            if is_over or len(reply.result) < wanted:
                return entry
        self._is_full = True
        return entry

    def played(self, prompt: Prompt, escape_digits: str = "") -> Generator[Command, Reply, str]:
        """Play it; the key that ended it, or the empty string. What cannot be played is passed over."""
        sound: str = getattr(self._settings.prompts, prompt.value)
        if not sound:
            return ""
        seconds = self._settings.reply_timeout + _LONGEST_SOUND
        reply = _well((yield Command(stream_file(sound, escape_digits), seconds)))
        if reply.result == _NOTHING_DONE:
            self._unplayed.append(prompt)
        # The key comes as the number of its character.
        return next((key for key in escape_digits if reply.result == str(ord(key))), "")

    def _get_data(self, prompt: Prompt | None, digits: int) -> Command:
        settings = self._settings
        sound: str = "" if prompt is None else getattr(settings.prompts, prompt.value)
        seconds = settings.reply_timeout + settings.digit_timeout * (digits + 1) + (_LONGEST_SOUND if sound else 0.0)
        return Command(get_data(sound, seconds=settings.digit_timeout, digits=digits), seconds)


def _well(reply: Reply) -> Reply:
    """A reply to a command that Asterisk has understood and done. Raises HungUp, NotAgi."""
    if reply.code == _DEAD:
        raise HungUp
    if reply.code != 200:
        raise NotAgi
    return reply


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
