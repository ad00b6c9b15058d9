"""Finding one person in all that is kept, and forgetting him there.

Old revisions of a list that hold him are dropped, not rewritten: a revision is a value, which daemons and the site may
have read already, and two different lists must never go by the same number.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec

from loader.errors import BlockError, DatabaseUnavailable, InvalidValue, StaleRevision
from loader.keyring import Keyring
from loader.model import AuditEntry, Entry, Owner, Revision
from loader.publish import publish
from loader.reader import read_list
from loader.store import Desk, Store
from loader.store.invitations import Guest
from loader.store.rolls import Caller
from loader.store.traces import CallTrace, InvitationTrace, LockTrace, Traces

_TRIES: Final = 20
"""How often a list is read again that others change meanwhile."""


class Person(msgspec.Struct, frozen=True):
    """Who is meant: by an address, by a number, or by first and last name. What is not given is not looked at."""

    email: str | None = None
    phone: str | None = None
    name: str | None = None

    def is_meant(self, *, first_name: str, last_name: str, email: str, phone: str) -> bool:
        """Whether all that is given is this person's."""
        return (
            (self.email is None or _plain(email) == self.email)
            and (self.phone is None or plain_number(phone) == self.phone)
            and (self.name is None or _plain(f"{first_name} {last_name}") == self.name)
        )

    def is_number(self, number: str | None) -> bool:
        """Whether a call from this number, of whomever, is this person's."""
        return self.phone is not None and number is not None and plain_number(number) == self.phone


class ListTrace(msgspec.Struct, frozen=True):
    """A revision of a list that holds the person, so many times."""

    company_id: str
    owner: Owner
    revision: int
    in_force: bool
    entries: int


Trace = CallTrace | InvitationTrace | LockTrace | ListTrace


class Erased(msgspec.Struct, frozen=True):
    """How much of one company was erased."""

    calls: int = 0
    events: int = 0
    invitations: int = 0
    entries: int = 0
    revisions: int = 0
    locks: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in msgspec.structs.asdict(self).items())


class Forgetting:
    """One person, in all companies or in one. `problems` tell what could not be looked into."""

    def __init__(self, store: Store, keyring: Keyring, person: Person, *, company_id: str | None = None) -> None:
        self._store = store
        self._keyring = keyring
        self._person = person
        self._company_id = company_id
        self._traces = Traces(store, company_id)
        self._pins: dict[Owner, set[tuple[str, str]]] = {}
        self.problems: list[str] = []

    async def find(self) -> AsyncGenerator[Trace]:
        """Where the person stands. Raises KeyFileError, DatabaseUnavailable."""
        lists = [trace async for trace in self._lists()]
        async with aclosing(self._traces.calls(self._keyring, self._is_caller)) as calls:
            async for some in calls:
                for call in some:
                    yield call
        async with aclosing(self._traces.invitations(self._keyring, self._is_guest)) as invitations:
            async for found in invitations:
                for invitation in found:
                    yield invitation
        for lock in await self._traces.locks(self._keyring, self._person.is_number):
            yield lock
        for trace in lists:
            yield trace
        self._tell_damaged()

    async def erase(self, *, by: str) -> dict[str, Erased]:
        """Forget the person, and tell the audit trail: how much of each company was erased, and under "" of none.

        It can be stopped at any point and done again: what goes last is what the rest is found by. Raises
        KeyFileError, DatabaseUnavailable.
        """
        await self._record(by, "forget_begun", {self._company_id: ""})
        counted: dict[str, Counter[str]] = {}
        lists = [trace async for trace in self._lists()]
        async with aclosing(self._traces.calls(self._keyring, self._is_caller)) as calls:
            async for some in calls:
                events = await self._traces.empty_calls(self._keyring, some)
                for call in some:
                    counted.setdefault(call.company_id, Counter())["calls"] += 1
                counted[some[0].company_id]["events"] += events
        async with aclosing(self._traces.invitations(self._keyring, self._is_guest)) as invitations:
            async for found in invitations:
                await self._traces.erase_invitations(found)
                for invitation in found:
                    counted.setdefault(invitation.company_id, Counter())["invitations"] += 1
        locks = await self._traces.locks(self._keyring, self._person.is_number)
        await self._traces.empty_locks(self._keyring, locks)
        for lock in locks:
            counted.setdefault(lock.company_id, Counter())["locks"] += 1
        for company_id, owner in dict.fromkeys((trace.company_id, trace.owner) for trace in lists):
            mine = counted.setdefault(company_id, Counter())
            try:
                mine["entries"] += await self._take_out(owner, by)
            except BlockError:
                continue  # told of already: what cannot be opened cannot be looked into
            kept = [trace.revision async for trace in self._revisions(company_id, owner) if not trace.in_force]
            mine["revisions"] += await self._traces.drop_revisions(owner, kept)
        erased = {company_id: Erased(**counts) for company_id, counts in counted.items()}
        self._tell_damaged()
        await self._record(by, "forget_done", dict(erased) or {self._company_id: Erased()})
        return erased

    async def _take_out(self, owner: Owner, by: str) -> int:
        """Make a revision without the person out of the one in force; how many entries that took out."""
        for _ in range(_TRIES):
            head = await self._store.list_head(owner)
            block = None if head is None else await read_list(self._store, self._keyring, owner, head.revision)
            if head is None or block is None:
                continue
            entries = list(block.entries())
            left = [entry for entry in entries if not self._is_entry(entry)]
            if len(left) == len(entries):
                return 0
            try:
                await publish(
                    self._store,
                    self._keyring,
                    owner,
                    left,
                    by=by,
                    source="edit",
                    expected_revision=Revision(head.revision),
                )
            except StaleRevision:
                continue
            return len(entries) - len(left)
        raise DatabaseUnavailable(f"the list of {owner} changes faster than it can be read; try again")

    async def _lists(self) -> AsyncGenerator[ListTrace]:
        for company_id, owner in await self._traces.owners():
            async for trace in self._revisions(company_id, owner):
                yield trace

    async def _revisions(self, company_id: str, owner: Owner) -> AsyncGenerator[ListTrace]:
        """The kept revisions of a list that hold the person."""
        revisions = await self._store.revisions(owner)
        for listed in revisions:
            try:
                block = await read_list(self._store, self._keyring, owner, listed.revision)
            except BlockError as error:
                if str(error) not in self.problems:
                    self.problems.append(str(error))
                continue
            found = [entry for entry in block.entries() if self._is_entry(entry)] if block is not None else []
            if found:
                names = self._pins.setdefault(owner, set())
                names.update((entry.pin, _plain(f"{entry.first_name} {entry.last_name}")) for entry in found)
                yield ListTrace(company_id, owner, listed.revision, listed is revisions[0], len(found))

    def _is_entry(self, entry: Entry) -> bool:
        return self._person.is_meant(
            first_name=entry.first_name, last_name=entry.last_name, email=entry.email, phone=entry.phone
        )

    def _is_caller(self, caller: Caller) -> bool:
        who = caller.participant
        return self._person.is_number(caller.caller) or (
            who is not None
            and self._person.is_meant(
                first_name=who.first_name, last_name=who.last_name, email=who.email, phone=who.phone
            )
        )

    def _is_guest(self, owner: Owner, guest: Guest) -> bool:
        """An invitation has no telephone number: whose it is, is told by the list that it was made from."""
        if (guest.pin, _plain(f"{guest.first_name} {guest.last_name}")) in self._pins.get(owner, ()):
            return True
        return self._person.phone is None and self._person.is_meant(
            first_name=guest.first_name, last_name=guest.last_name, email=guest.email, phone=""
        )

    def _tell_damaged(self) -> None:
        if self._traces.damaged:
            self.problems.append(f"{self._traces.damaged} calls, invitations or locks were damaged or tampered with")

    async def _record(self, by: str, action: str, details: Mapping[Any, object]) -> None:
        now = time.time()
        entries = [
            AuditEntry(now, by[:64], company_id or None, "", action, company_id or "", str(detail))
            for company_id, detail in details.items()
        ]
        await Desk(self._store).record(*entries)


def parse_person(email: str | None, phone: str | None, name: str | None) -> Person:
    """What was given becomes who is meant. Raises InvalidValue."""
    if email is not None and "@" not in email:
        raise InvalidValue("an email address has an @")
    if phone is not None and len(plain_number(phone)) < 5:
        raise InvalidValue("a telephone number has at least 5 digits")
    if name is not None and len(name.split()) < 2:
        raise InvalidValue('a name is the first and the last one, such as "Mike Doe"')
    parts: tuple[tuple[str | None, Callable[[str], str]], ...] = (
        (email, _plain),
        (phone, plain_number),
        (name, _plain),
    )
    return Person(*(None if text is None else read(text) for text, read in parts))


def _plain(text: str) -> str:
    """However its letters are put together: some programs write an accent as a character of its own."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def plain_number(text: str) -> str:
    """A number without all that people put between its digits; `00` in front is a `+`, and `(0)` is not dialled."""
    return re.sub(r"[^0-9]", "", text.replace("(0)", "")).removeprefix("00")
