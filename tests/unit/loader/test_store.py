"""What the store reads and writes."""

from pathlib import Path

import pytest

from loader.errors import AlreadyExists, DatabaseUnavailable, NotFound
from loader.model import Change, DaemonState, Kind, Level, Owner, Position, Switch
from loader.store import Store, open_store


def switch(name: str) -> Switch:
    return Switch.new(name, name.encode().ljust(32), 5.0)


async def with_conferences(store: Store, *, organizers: int, each: int) -> None:
    """Organizers `o0`, `o1`, ... with conferences `o0-0`, `o0-1`, ..."""
    organizer = {"company_id": "globaltest", "authorization_code": "3625046", "name": "O", "email": "o@example.com"}
    conferences = [
        {
            "id": f"o{number}-{at}",
            "organizer_id": f"o{number}",
            "title": "T",
            "passcode": f"{number}0{at:04}",
            "pin_entry": at % 2 == 0,
        }
        for number in range(organizers)
        for at in range(each)
    ]
    async with store.writing() as writing:
        await writing.insert_rows("organizer", [{"id": f"o{number}", **organizer} for number in range(organizers)])
        await writing.insert_rows("conference", conferences)


async def test_conferences_are_all_read_in_a_stream(store: Store) -> None:
    """More than one fetch's worth."""
    await with_conferences(store, organizers=2, each=700)
    found = {conference.id: conference async for conference in store.conferences()}
    assert len(found) == 1401
    assert found["o0-0"].owners == (
        Owner(Level.ORGANIZER, "o0"),
        Owner(Level.AUTHORIZATION_CODE, "3625046"),
        Owner(Level.COMPANY, "globaltest"),
    )
    assert found["o0-0"].owners == found["o0-699"].owners
    assert (found["o1-7"].organizer, found["o1-7"].pin_entry, found["o1-8"].pin_entry) == ("o1", False, True)


async def test_conferences_are_read_by_id_and_by_organizer(store: Store) -> None:
    """More names than one query takes; what is not there is not answered."""
    await with_conferences(store, organizers=2, each=700)
    some = [f"o0-{at}" for at in range(650)]
    assert sorted([c.id async for c in store.conferences(ids=[*some, "none"])]) == sorted(some)
    assert {c.id async for c in store.conferences(organizers=["o1", "none"])} == {f"o1-{at}" for at in range(700)}
    assert {c.id async for c in store.conferences(ids=["C-1001"], organizers=["none"])} == {"C-1001"}
    assert [c async for c in store.conferences(ids=[])] == []


async def test_a_conference_is_found_by_its_passcode(store: Store) -> None:
    """Or not at all."""
    found = await store.conference("7784321")
    assert found is not None
    assert found.id == "C-1001"
    assert await store.conference("7784322") is None


@pytest.mark.parametrize(
    ("level", "owner_id", "exists"),
    [
        (Level.ORGANIZER, "alicia", True),
        (Level.AUTHORIZATION_CODE, "3625046", True),
        (Level.COMPANY, "globaltest", True),
        (Level.COMPANY, "alicia", False),
        (Level.ORGANIZER, "Alicia", False),
    ],
)
async def test_an_owner_exists_at_its_level_only(store: Store, level: Level, owner_id: str, exists: bool) -> None:
    """An ID is told by its case and its level."""
    assert await store.owner_exists(Owner(level, owner_id)) is exists


async def test_switches_come_and_go(store: Store) -> None:
    """Each has one name, and the feed tells of both."""
    position = await store.position()
    await store.add_switch(switch("pbx-2"))
    await store.add_switch(switch("pbx-1"))
    assert await store.switches() == [switch("pbx-1"), switch("pbx-2")]
    with pytest.raises(AlreadyExists, match="there is already a switch pbx-1"):
        await store.add_switch(switch("pbx-1"))
    await store.remove_switch("pbx-1")
    with pytest.raises(NotFound, match="there is no switch pbx-1"):
        await store.remove_switch("pbx-1")
    assert await store.switches() == [switch("pbx-2")]
    changes: list[Change] = await store.changes_since(position)
    assert [(change.kind, change.id) for change in changes] == [(Kind.SWITCH, "pbx-2"), (Kind.SWITCH, "pbx-1")]


async def test_a_daemon_tells_of_itself(store: Store) -> None:
    """Its latest word counts, the feed is silent, and one that was silent for over a week is forgotten."""
    position = await store.position()
    old = DaemonState("old:8470", "0.1.0", 1.0, Position(1), 2.0, 3.0)
    await store.record_daemon(old)
    first = DaemonState("host:8470", "0.1.0", 10.0, Position(2), 11.0, 3.0 + 7 * 86400)
    await store.record_daemon(first)
    assert await store.daemons() == [first, old]
    later = DaemonState("host:8470", "0.2.0", 20.0, Position(3), 21.0, 4.0 + 7 * 86400)
    await store.record_daemon(later)
    await store.record_daemon(DaemonState("new:8470", "0.2.0", 0.0, Position(3), 0.0, 4.0 + 7 * 86400))
    assert [state.id for state in await store.daemons()] == ["host:8470", "new:8470"]
    assert (await store.daemons())[0] == later
    assert await store.position() == position


async def test_a_store_opened_for_reading_does_not_write(store: Store, url: str) -> None:
    """It reads what is there, and refuses a change."""
    async with open_store(url, writable=False) as reader:
        assert await reader.owner_exists(Owner(Level.COMPANY, "globaltest"))
        with pytest.raises(DatabaseUnavailable, match="is read-only"):
            await reader.add_switch(switch("pbx-1"))
    assert await store.switches() == []


async def test_a_reader_sees_one_state_while_others_write(store: Store, url: str) -> None:
    """A stream that has begun goes on as it began, and holds no writer up."""
    await with_conferences(store, organizers=1, each=1200)
    stream = store.conferences()
    first = await anext(stream)
    async with open_store(url) as second, second.writing() as writing:
        rows = await writing.rows("conference", "organizer_id", ["o0"])
        await writing.update_rows("conference", [{**row, "title": "New"} for row in rows])
    titles = {first.title} | {conference.title async for conference in stream if conference.organizer == "o0"}
    assert titles <= {"T", "Weekly call"}
    assert {c.title async for c in store.conferences(organizers=["o0"])} == {"New"}


async def test_an_iterator_that_is_left_gives_its_connection_back(store: Store) -> None:
    """Closed before its end, again and again, it uses up nothing."""
    await with_conferences(store, organizers=1, each=600)
    for _ in range(20):
        stream = store.conferences()
        await anext(stream)
        await stream.aclose()
    assert (await store.counts())["conference"] == 601


async def test_a_file_put_in_place_of_the_database_is_seen(store: Store, made: Path, tmp_path: Path) -> None:
    """A database that was copied back is read, not the one that is no longer there."""
    await store.add_switch(switch("pbx-1"))
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"rollcall.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "copy.db").write_bytes(made.read_bytes())
    (tmp_path / "copy.db").replace(tmp_path / "rollcall.db")
    assert await store.switches() == []
