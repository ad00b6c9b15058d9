"""The throttle as the daemon keeps it: section 7 of the design, over counters that all daemons of a machine share.

Wrong tries are counted by call, by caller and conference, by conference, and by switch. At its limit each makes those
wait whom it counts; each further wrong try doubles the wait, up to a cap, as NIST SP 800-63B-4 (section 3.2.2) advises.

- A **caller** is a number at a conference. An accepted PIN forgives him all; a hundred wrong tries in a row lock him
  until somebody unlocks him. His tries at passcodes are counted as if they were one more conference.
- Callers who **withhold** their number are one caller at each conference. As they are many, nobody's PIN forgives them,
  and no count locks them for good: one wrong try is forgiven in each `forgiven_every` instead.
- A **conference** and a **switch** count everybody, and are forgiven likewise.
- A **known** caller, whose PIN was accepted from that number before, does not wait for a conference or a switch:
  otherwise whoever wants to could lock him out. His wrong tries are counted for himself, and too many make him unknown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec
import structlog

from daemon.counters import Count, Counters, CountersBusy, Kind
from daemon.throttle import Attempt
from loader.index import Decision, Question, Reason
from loader.model import Conference
from loader.roll import Locked
from loader.sections import Throttle as Limits

log = structlog.get_logger(__name__)

_FORGOTTEN_AFTER: Final = 30 * 86400.0
"""Seconds without a try after which one who is not locked begins anew."""
_NOTED_EVERY: Final = 3600.0
"""Seconds after which a known caller is noted once more."""
_CLOCK_MAY_DIFFER: Final = 1.0
"""Seconds by which a count may be in the future before the clock is taken to have been set back."""
_NAMES_KEPT: Final = 10_000
"""Of each kind: names that need not be hashed again."""


class Rule(NamedTuple):
    """`limit` wrong tries in a row are let pass, or all if it is 0.

    In each `forgiven_every` seconds one is forgiven; from `most` on only a person unlocks.
    """

    name: str
    kind: Kind
    limit: int
    forgiven_every: float = math.inf
    most: float = math.inf


Counted: TypeAlias = tuple[Rule, int]
"""One counter: the rule that it is held against, and its name."""
Wait: TypeAlias = tuple[int, str]
"""For how many seconds one must wait, and the kind of counter that says so."""

_BUSY: Final[Wait] = (1, "busy")
"""When the counters cannot be had: nothing is told that is not counted."""


class CountingThrottle:
    """What counts the wrong tries. `locked` hears of each lock, `refused` of each attempt that was told to wait.

    The limits may be set anew while the daemon runs.
    """

    def __init__(
        self,
        counters: Counters,
        limits: Limits,
        *,
        locked: Callable[[Locked], None],
        refused: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counters = counters
        self._locked = locked
        self._names: dict[str, dict[str, int]] = {kind: {} for kind in ("caller", "conference", "switch", "withheld")}
        self._names_at: dict[tuple[str | None, str], int] = {}
        self.refused = refused
        self.clock = clock
        self.name = counters.name
        self.is_any_locked = counters.is_any_locked
        self.is_quiet = counters.is_quiet
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Put these limits in force."""
        self._first_wait, self._longest_wait = limits.first_wait, limits.longest_wait
        every = limits.forgiven_every
        self.call = Rule("call", Kind.CALL, limits.call_limit)
        self.caller = Rule("caller", Kind.CALLER, limits.caller_limit, most=limits.most_failures)
        self.withheld = Rule("caller", Kind.CROWD, limits.withheld_limit, every)
        self.conference = Rule("conference", Kind.CROWD, limits.conference_limit, every)
        self.switch = Rule("switch", Kind.CROWD, limits.switch_limit, limits.switch_forgiven_every)
        self.known = Rule("known", Kind.KNOWN, limits.known_limit, every)

    def attempt(self, question: Question, switch: str) -> Attempt:
        return _Attempt(self, question, switch)

    def unknown_passcode(self, switch: str) -> None:
        """Counted for the switch alone, as nobody said who calls."""
        self.count((), [(self.switch, self.kept_name("switch", switch))], self.clock(), None, None, switch)

    def unlock(self, key: str, as_of: float) -> None:
        """Forget what was counted under this key up to then, seconds since 1970. Raises CountersBusy."""
        name = int(key, 16)
        with self._counters.held():
            for kind in (Kind.CALLER, Kind.CROWD):
                count = self._counters.look(kind, name)
                if count is not None and count.last <= as_of:
                    self._counters.drop(kind, name)

    def kept_name(self, kind: str, said: str) -> int:
        """The name of what is asked about again and again."""
        names = self._names[kind]
        name = names.get(said)
        if name is None:
            if len(names) >= _NAMES_KEPT:
                names.clear()
            name = names[said] = self.name(f"{kind}\0{said}")
        return name

    def name_at(self, number: str | None, passcode: str) -> int:
        """Of two names that tell nothing, one that stands for both: of a caller, and of a conference."""
        name = self._names_at.get((number, passcode))
        if name is None:
            if len(self._names_at) >= _NAMES_KEPT:
                self._names_at.clear()
            caller = self.kept_name("withheld", "") if number is None else self.kept_name("caller", number)
            name = self._names_at[number, passcode] = caller ^ self.kept_name("conference", passcode)
        return name

    def longest_wait(self, counted: Iterable[Counted], now: float) -> Wait | None:
        """The longest wait that any of these asks for; None if none does."""
        longest: Wait | None = None
        until_of = self._counters.until
        for rule, name in counted:
            until = until_of(rule.kind, name)
            if until <= now or not rule.limit:
                continue
            count = self._counters.look(rule.kind, name)
            if count is not None and count.last > now + _CLOCK_MAY_DIFFER:
                until = now + count.until - count.last
                self._note(rule.kind, name, Count(count.failures, now, until))
            seconds = max(1, math.ceil(min(until - now, self._longest_wait)))
            longest = max(longest or (0, ""), (seconds, rule.name))
        return longest

    def is_known(self, name: int, now: float) -> bool:
        """Whether this caller has shown a PIN of this conference, and has not guessed too much since."""
        count = self._counters.look(Kind.KNOWN, name)
        return count is not None and self._failures(self.known, count, now) < self.known.limit

    def know(self, name: int, now: float) -> None:
        """A PIN was accepted from this caller: his wrong tries are forgiven, and he is known."""
        if self._counters.is_at_peace(name, now - _NOTED_EVERY, now):
            return
        noted = self._counters.look(Kind.KNOWN, name)
        # Guesses that were followed by the right PIN stay counted: an insider has one to show after each few of them.
        failures = 0 if noted is None else self._failures(self.known, noted, now)
        try:
            with self._counters.held():
                self._counters.drop(Kind.CALLER, name)
                self._counters.put(Kind.KNOWN, name, Count(failures, now, 0.0))
        except CountersBusy:
            log.warning("throttle_busy")

    def count(
        self,
        before: Iterable[Counted],
        counted: Iterable[Counted],
        now: float,
        caller: str | None,
        conference: Conference | None,
        switch: str,
    ) -> Wait | int | None:
        """Count one wrong try; but if any of `before` has been locked meanwhile, only say for how long to wait.

        Otherwise how many tries the call and the caller have left; None if neither is counted.
        """
        left: int | None = None
        locks = []
        try:
            with self._counters.held():
                if (wait := self.longest_wait(before, now)) is not None:
                    return wait
                for rule, name in counted:
                    if not rule.limit:
                        continue
                    count = self._counters.look(rule.kind, name)
                    failures = 1 if count is None else self._failures(rule, count, now) + 1
                    until = now + seconds if (seconds := self._wait(rule, failures)) else 0.0
                    self._counters.put(rule.kind, name, Count(failures, now, until))
                    if rule.name in ("call", "caller"):
                        left = min(rule.limit if left is None else left, max(0, rule.limit - failures))
                    if until and rule.kind is not Kind.CALL:
                        locks.append(
                            Locked(
                                at=now,
                                until=until,
                                key=f"{name:016x}",
                                kind=rule.name,
                                failures=failures,
                                conference_id=conference.id if conference else "",
                                caller=caller,
                                switch=switch,
                            )
                        )
        except CountersBusy:
            log.warning("throttle_busy")
            return _BUSY
        for lock in locks:
            self._locked(lock)
        return left

    def _failures(self, rule: Rule, count: Count, now: float) -> int:
        """How many of them are not forgiven by now."""
        silent = max(0.0, now - count.last)
        if silent > _FORGOTTEN_AFTER and count.until < now:
            return 0
        return max(0, count.failures - int(silent / rule.forgiven_every))

    def _wait(self, rule: Rule, failures: int) -> float:
        if rule.kind is Kind.KNOWN or failures < rule.limit:
            return 0.0
        if failures >= rule.most:
            return math.inf
        return min(self._first_wait * 2.0 ** min(failures - rule.limit, 40), self._longest_wait)

    def _note(self, kind: Kind, name: int, count: Count) -> None:
        try:
            with self._counters.held():
                self._counters.put(kind, name, count)
        except CountersBusy:
            log.warning("throttle_busy")


class _Attempt:
    """One question, and the counters that it is held against.

    Who is accepted while nobody is locked, as most are, costs no name but his own.
    """

    __slots__ = ("_is_quiet", "_now", "_number", "_question", "_switch", "_throttle")

    def __init__(self, throttle: CountingThrottle, question: Question, switch: str) -> None:
        self._throttle = throttle
        self._question = question
        self._switch = switch
        self._number = caller_number(question.caller)
        self._now = now = throttle.clock()
        self._is_quiet = throttle.is_quiet(now)

    def caller_locked_for(self) -> int | None:
        if self._is_quiet:
            return None
        counted: list[Counted] = []
        if self._is_any_locked(Kind.CALL):
            counted += self._call()
        if self._is_any_locked(Kind.CALLER if self._number else Kind.CROWD):
            counted += self._caller()
        wait = self._throttle.longest_wait(counted, self._now)
        return self._crowded(self._switch_at) if wait is None else self._told(wait)

    def conference_locked_for(self, conference: Conference) -> int | None:  # noqa: ARG002
        return None if self._is_quiet else self._crowded(self._conference_at)

    def accepted(self) -> None:
        if self._number is not None:
            self._throttle.know(self._here(), self._now)

    def rejected(self, decision: Decision) -> Decision:
        throttle, conference = self._throttle, decision.conference
        call, (here, passcodes) = self._call(), self._caller()
        before = [*call, here, passcodes]
        if conference is None:
            counted = [*call, passcodes, self._switch_at()]
            before.append(self._switch_at())
        elif self._is_known():
            counted = [*call, here, (throttle.known, self._here())]
        else:
            crowd = [self._conference_at(), self._switch_at()]
            counted = [*call, here, *crowd]
            before += crowd
        caller = None if self._number is None else self._question.caller
        came = throttle.count(before, counted, self._now, caller, conference, self._switch)
        if isinstance(came, tuple):
            return Decision(Reason.LOCKED, conference, retry_after=self._told(came))
        return msgspec.structs.replace(decision, attempts_left=came)

    def _is_any_locked(self, kind: Kind) -> bool:
        return self._throttle.is_any_locked(kind, self._now)

    def _crowded(self, at: Callable[[], Counted]) -> int | None:
        """Whether a crowd is locked that this caller is lost in."""
        if not self._is_any_locked(Kind.CROWD):
            return None
        wait = self._throttle.longest_wait((at(),), self._now)
        return None if wait is None or self._is_known() else self._told(wait)

    def _is_known(self) -> bool:
        return self._number is not None and self._throttle.is_known(self._here(), self._now)

    def _told(self, wait: Wait) -> int:
        seconds, kind = wait
        self._throttle.refused(kind)
        return seconds

    # What is counted

    def _call(self) -> list[Counted]:
        throttle, call_id = self._throttle, self._question.call_id
        return [(throttle.call, throttle.name(f"call\0{self._switch}\0{call_id}"))] if call_id else []

    def _caller(self) -> tuple[Counted, Counted]:
        """At this conference, and at passcodes."""
        throttle = self._throttle
        if self._number is None:
            return (throttle.withheld, self._here()), (throttle.withheld, throttle.kept_name("withheld", self._switch))
        return (throttle.caller, self._here()), (throttle.caller, throttle.kept_name("caller", self._number))

    def _here(self) -> int:
        return self._throttle.name_at(self._number, self._question.passcode)

    def _conference_at(self) -> Counted:
        return self._throttle.conference, self._throttle.kept_name("conference", self._question.passcode)

    def _switch_at(self) -> Counted:
        return self._throttle.switch, self._throttle.kept_name("switch", self._switch)


_WITHHELD: Final = frozenset(
    ("anonymous", "unknown", "unavailable", "restricted", "private", "withheld", "blocked", "asserted", "none")
)
"""What switches tell for a number that they do not know or may not tell; RFC 3323, section 4.1, has the first."""
_SPELLED: Final = str.maketrans("", "", " \t-./()+")


def caller_number(told: str | None) -> str | None:
    """A caller's number as it is counted, however it is written; None for one that is withheld."""
    if not told:
        return None
    if told.isdecimal():
        return told
    if told[0] == "+" and told[1:].isdecimal():
        return told[1:]
    number = told.partition("<")[2].partition(">")[0] or told  # "Ann" <sip:ann@example.com>
    number = number.strip().lower()
    for scheme in ("sip:", "sips:", "tel:"):
        number = number.removeprefix(scheme)
    user = number.partition("@")[0].partition(";")[0]
    if not user or user in _WITHHELD or number.endswith("anonymous.invalid"):
        return None
    digits = user.translate(_SPELLED)
    return digits if digits.isdecimal() else number
