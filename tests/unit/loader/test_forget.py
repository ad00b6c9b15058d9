"""One person is found in every place, and forgotten there; again and again, and whatever stops it in between."""

from __future__ import annotations

from typing import Any

import pytest

from loader.errors import InvalidValue
from loader.forget import Erased, Forgetting, ListTrace, parse_person
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Participant, Pin
from loader.publish import publish, put_back, read_list
from loader.roll import Admitted, Event, Locked
from loader.store import Desk, Store
from loader.store.choices import Choices
from loader.store.deliveries import Deliveries
from loader.store.invitations import Guest, Invitations
from loader.store.lockouts import Lockouts
from loader.store.rolls import BEGINNING, Progress, RollBook
from loader.store.taking import RollTaker
from loader.store.traces import CallTrace, InvitationTrace, LockTrace, Traces

T = 1_700_000_000.0
MIKE = Entry(Pin("004127"), "Mike", "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "")
JANE = Entry(Pin("271828"), "Jane", "Roe", "XYZ", "+1 555 0101", "jane@example.com", "London", "UK", "")
WAYS = {"email": "Mike@Example.com", "phone": "001 (555) 0100", "name": " mike  DOE "}


def participant(entry: Entry) -> Participant:
    return Participant(*(getattr(entry, name) for name in Participant.__struct_fields__))


class Kept:
    """All that is kept of Mike, beside what is kept of Jane."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.store, self.keyring = store, keyring
        self.alicia, self.company = Owner(Level.ORGANIZER, "alicia"), Owner(Level.COMPANY, "globaltest")
        self._at = BEGINNING

    async def happens(self, *events: Event) -> None:
        following = Progress(1, self._at.offset + 1)
        await RollTaker(self.store, quiet=60.0).apply(self.keyring, events, "journal", self._at, following)
        self._at = following

    async def make(self) -> None:
        await Choices(self.store).set_webhook("globaltest", "https://example.com/")
        for owner in (self.alicia, self.company):
            for entries in ([MIKE], [JANE], [MIKE, JANE]):
                await self.put(owner, entries)
        await self.happens(
            *(
                Admitted(
                    T + number,
                    f"v{number}",
                    "http",
                    "pbx",
                    str(number),
                    None,
                    "C-1001",
                    "organizer:alicia",
                    "004127",
                    who,
                )
                for number, who in enumerate(map(participant, (MIKE, JANE, MIKE)))
            )
        )
        guests = [Guest(one.pin, one.first_name, one.last_name, one.email) for one in (MIKE, JANE)]
        await Invitations(self.store).queue(
            self.keyring, "C-1001", self.alicia, guests, by="x", language="en", at=T, again=False, seen=0
        )

    async def put(self, owner: Owner, entries: list[Entry]) -> None:
        await publish(self.store, self.keyring, owner, entries, by="test", source="import")

    def forgetting(self, company_id: str | None = None, **who: str) -> Forgetting:
        given = dict.fromkeys(("email", "phone", "name")) | who
        return Forgetting(self.store, self.keyring, parse_person(**given), company_id=company_id)

    async def found(self, company_id: str | None = None, **who: str) -> tuple[int, int, list[tuple[str, int, bool]]]:
        """How many calls and invitations, and which revisions of lists."""
        found = [trace async for trace in self.forgetting(company_id, **who).find()]
        return (
            sum(isinstance(one, CallTrace) for one in found),
            sum(isinstance(one, InvitationTrace) for one in found),
            [(one.owner.key, one.revision, one.in_force) for one in found if isinstance(one, ListTrace)],
        )

    async def erase(self, **who: str) -> dict[str, Erased]:
        return await self.forgetting(**who).erase(by="cli:test")

    async def names(self, owner: Owner, revision: int | None = None) -> list[str] | None:
        block = await read_list(self.store, self.keyring, owner, revision)
        return None if block is None else [entry.first_name for entry in block.entries()]


NOWHERE: tuple[int, int, list[Any]] = (0, 0, [])
EVERYWHERE = (
    2,
    1,
    [
        ("organizer:alicia", 3, True),
        ("organizer:alicia", 1, False),
        ("company:globaltest", 3, True),
        ("company:globaltest", 1, False),
    ],
)


@pytest.fixture
async def kept(store: Store, keyring: Keyring) -> Kept:
    made = Kept(store, keyring)
    await made.make()
    return made


@pytest.mark.parametrize("way", WAYS)
async def test_a_person_is_found_in_every_place(kept: Kept, way: str) -> None:
    assert await kept.found(**{way: WAYS[way]}) == EVERYWHERE
    assert await kept.found(**{way: WAYS[way]}) == EVERYWHERE, "to look changes nothing"
    assert await kept.found("globaltest", **{way: WAYS[way]}) == EVERYWHERE
    assert await kept.found("other", **{way: WAYS[way]}) == NOWHERE


@pytest.mark.parametrize("way", WAYS)
async def test_a_person_is_forgotten_in_every_place_and_nobody_else_is(kept: Kept, way: str) -> None:
    who = {way: WAYS[way]}
    book = RollBook(kept.store)
    version = await book.version(1)
    (erased,) = (await kept.erase(**who)).items()
    assert erased == ("globaltest", Erased(calls=2, events=2, invitations=1, entries=2, revisions=4))
    assert await kept.found(**who) == NOWHERE
    calls = await book.calls(kept.keyring, 1)
    assert [call.participant and call.participant.first_name for call in calls] == [None, "Jane", None]
    assert [call.person is not None for call in calls] == [False, True, False]
    occurrence = await book.occurrence(1)
    assert occurrence is not None
    assert (occurrence.present, occurrence.admitted) == (3, 3), "counts hold"
    assert occurrence.version > version
    for owner in (kept.alicia, kept.company):
        assert await kept.names(owner) == ["Jane"]
        assert await kept.names(owner, 2) == ["Jane"]
        assert await kept.names(owner, 1) is None
        assert await kept.names(owner, 3) is None
        revisions = await kept.store.revisions(owner)
        newest = revisions[0]
        assert (newest.revision, newest.source, newest.created_by) == (4, "edit", "cli:test")
    (guest,) = await Invitations(kept.store).invitations(kept.keyring, "C-1001")
    assert guest.guest.first_name == "Jane"
    assert [row.event for row in await Deliveries(kept.store).newest("globaltest")] == ["call.admitted"]


async def test_to_forget_once_more_changes_nothing(kept: Kept) -> None:
    await kept.erase(name="Mike Doe")
    before = await kept.store.position()
    assert await kept.erase(name="Mike Doe") == {}
    assert await kept.store.position() == before


@pytest.mark.parametrize("at", ["empty_calls", "erase_invitations", "drop_revisions", "record"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_was_stopped_in_between_is_done_again(
    kept: Kept, way: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    async def killed(*_: object) -> None:
        raise KilledError

    async def killed_at_the_end(_self: Forgetting, _by: str, action: str, _details: object) -> None:
        if action == "forget_done":
            raise KilledError

    with monkeypatch.context() as patch:
        if at == "record":
            patch.setattr(Forgetting, "_record", killed_at_the_end)
        else:
            patch.setattr(Traces, at, killed)
        with pytest.raises(KilledError):
            await kept.erase(**{way: WAYS[way]})
    await kept.erase(**{way: WAYS[way]})
    assert await kept.found(**{way: WAYS[way]}) == NOWHERE
    assert await kept.names(kept.alicia) == ["Jane"]


async def test_the_audit_trail_tells_who_did_it_and_how_much_and_not_whom(kept: Kept) -> None:
    await kept.erase(email="mike@example.com")
    _, (done, begun) = await Desk(kept.store).audit()
    assert (begun.action, begun.user_id, begun.company_id, begun.detail) == ("forget_begun", "cli:test", None, "")
    assert (done.action, done.user_id, done.company_id) == ("forget_done", "cli:test", "globaltest")
    assert done.detail == "calls 2, events 2, invitations 1, entries 2, revisions 4, locks 0"
    assert "mike" not in str((done, begun)).lower()


async def test_a_list_that_changes_meanwhile_keeps_the_change(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's edit comes between the reading and the writing."""
    ben = Entry(Pin("314159"), "Ben", "Poe", "XYZ", "", "", "Paris", "FR", "")
    real = publish
    raced: list[bool] = []

    async def publish_late(*args: Any, **kwargs: Any) -> Any:
        if not raced:
            raced.append(True)
            await real(kept.store, kept.keyring, kept.alicia, [MIKE, JANE, ben], by="sue", source="edit")
        return await real(*args, **kwargs)

    monkeypatch.setattr("loader.forget.publish", publish_late)
    await kept.erase(email="mike@example.com")
    assert await kept.names(kept.alicia) == ["Jane", "Ben"]
    assert await kept.found(email="mike@example.com") == NOWHERE


async def test_a_number_is_forgotten_wherever_it_called_from(kept: Kept) -> None:
    """Also where no PIN was asked for, and where the PIN was somebody else's."""
    await kept.happens(
        Admitted(T + 9, "v9", "http", "pbx", "9", "+15550100", "C-1001"),
        Admitted(
            T + 9, "v10", "http", "pbx", "10", "+15550100", "C-1001", "organizer:alicia", "004127", participant(JANE)
        ),
    )
    assert (await kept.found(phone="+1 555 0100"))[0] == 4
    await kept.erase(phone="+1 555 0100")
    calls = await RollBook(kept.store).calls(kept.keyring, 1)
    assert [call.caller for call in calls] == [None] * 5


async def test_a_list_that_held_nobody_else_is_empty_then(kept: Kept) -> None:
    await kept.put(kept.alicia, [MIKE])
    await kept.erase(email="mike@example.com")
    assert await kept.names(kept.alicia) == []


async def test_what_cannot_be_opened_is_told_and_the_rest_is_done(kept: Kept) -> None:
    from loader.store.tables import list_part

    async with kept.store.transaction() as connection:
        where = (list_part.c.owner_id == "alicia", list_part.c.revision == 1)
        await connection.execute(list_part.update().where(*where).values(ciphertext=b"x" * 40))
    forgetting = kept.forgetting(email="mike@example.com")
    await forgetting.erase(by="cli:test")
    (problem,) = forgetting.problems
    assert "revision 1" in problem
    assert await kept.names(kept.alicia) == ["Jane"]


async def test_a_call_that_cannot_be_opened_is_told_and_the_rest_is_done(kept: Kept) -> None:
    from loader.store.tables import call

    async with kept.store.transaction() as connection:
        await connection.execute(call.update().where(call.c.id == 2).values(sealed=b"x" * 40))
    forgetting = kept.forgetting(email="mike@example.com")
    assert (await forgetting.erase(by="cli:test"))["globaltest"].calls == 2
    assert forgetting.problems == ["1 calls, invitations or locks were damaged or tampered with"]


async def test_what_is_dropped_cannot_be_put_back(kept: Kept) -> None:
    await kept.erase(email="mike@example.com")
    from loader.errors import NotFound
    from loader.model import Revision

    with pytest.raises(NotFound):
        await put_back(kept.store, kept.keyring, kept.alicia, Revision(1), by="sue")


async def test_the_revision_in_force_is_never_dropped(kept: Kept) -> None:
    assert await Traces(kept.store).drop_revisions(kept.alicia, [2, 3]) == 1
    assert await kept.names(kept.alicia) == ["Mike", "Jane"]


@pytest.mark.parametrize("who", [{"email": "mike"}, {"phone": "12"}, {"name": "Mike"}])
def test_too_little_to_tell_somebody_by_is_refused(who: dict[str, str]) -> None:
    with pytest.raises(InvalidValue):
        parse_person(**(dict.fromkeys(("email", "phone", "name")) | who))


@pytest.mark.parametrize(
    ("who", "first_name", "phone"),
    [
        ({"name": "zo\u00cb doe"}, "Zoe\u0308", ""),
        ({"name": "Zoe\u0308 Doe"}, "Zo\u00eb", ""),
        ({"name": "Zoe Doe"}, "\uff3aoe", ""),
        ({"phone": "+44 20 5550 0101"}, "Zoe", "+44 (0)20 5550 0101"),
        ({"phone": "0044(0)20 5550 0101"}, "Zoe", "+442055500101"),
    ],
)
def test_a_person_is_found_however_it_was_written(who: dict[str, str], first_name: str, phone: str) -> None:
    """As by a program that writes accents apart, or with the zero that only some dial."""
    person = parse_person(who.get("email"), who.get("phone"), who.get("name"))
    assert person.is_meant(first_name=first_name, last_name="Doe", email="", phone=phone)
    assert not person.is_meant(first_name="Zora", last_name="Doe", email="", phone="+44 20 5550 0102")


async def test_a_number_that_is_locked_is_forgotten_and_stays_locked(kept: Kept) -> None:
    """As one that was withheld; whoever it was, and also where he guessed passcodes."""
    await kept.happens(
        *(
            Locked(T, T + 60, f"{number:016x}", "caller", 3, conference_id, caller, "pbx")
            for number, (conference_id, caller) in enumerate(
                [("C-1001", "+1 555 0100"), ("", "0015550100"), ("C-1001", "+15550101"), ("C-1001", None)]
            )
        )
    )
    locks = [one async for one in kept.forgetting(phone="+15550100").find() if isinstance(one, LockTrace)]
    assert [(one.company_id, one.conference_id) for one in locks] == [("globaltest", "C-1001"), ("", "")]
    erased = await kept.erase(phone="+15550100")
    assert (erased["globaltest"].locks, erased[""]) == (1, Erased(locks=1))
    left = await Lockouts(kept.store).locked(kept.keyring, T + 1)
    assert [one.caller for one in left] == [None, None, "+15550101", None]
    _, done = await Desk(kept.store).audit(action="forget_done")
    assert {one.company_id for one in done} == {None, "globaltest"}
    assert not [one async for one in kept.forgetting(phone="+15550100").find() if isinstance(one, LockTrace)]
