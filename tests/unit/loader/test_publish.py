"""Putting lists in force, and reading them."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from loader.compiled import Block
from loader.errors import BlockError, InvalidValue, KeyFileError, NotFound, PinTooShort, StaleRevision
from loader.keyring import PART_SIZE, Keyring
from loader.model import Change, Entry, Kind, Level, Owner, Pin, Position, Revision
from loader.publish import Difference, Published, diff, publish, publish_to_all, put_back
from loader.reader import read_list, read_lists
from loader.rotate import rotate_key
from loader.store import KEPT_REVISIONS, Store, Writing, open_store
from loader.store.choices import Choices

People = Callable[..., list[Entry]]
LARGE = 200
"""Entries whose block has several parts where parts are small."""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 4 KiB, so that short lists have several."""
    monkeypatch.setattr("loader.keyring.PART_SIZE", 4096)


async def imported(store: Store, keyring: Keyring, owner: Owner, entries: list[Entry]) -> Published:
    return await publish(store, keyring, owner, entries, by="cli:root", source="import")


async def entries_of(store: Store, keyring: Keyring, owner: Owner, revision: int | None = None) -> list[Entry]:
    block = await read_list(store, keyring, owner, revision)
    assert block is not None
    return list(block.entries())


def sql(folder: Path, statement: str, *values: object) -> int:
    """Change the database behind the program's back; how many rows were."""
    connection = sqlite3.connect(folder / "rollcall.db")
    with connection:
        count = connection.execute(statement, values).rowcount
    connection.close()
    return count


def test_a_difference_is_told_by_pin(people: People) -> None:
    """Same PIN, other fields: changed. Nothing else makes an entry the same person's."""
    (one, two, three), (_, other_two, _) = people(3), people(3, "Jane")
    assert diff([one, two], [three, other_two]) == Difference((three,), (other_two,), (one,), 0)
    assert not diff([one, two], [two, one])
    assert diff([], []).unchanged == 0


async def test_what_is_published_can_be_read(store: Store, keyring: Keyring, alicia: Owner, people: People) -> None:
    """A first list is revision 1, its head tells of it, and the feed names it."""
    position = await store.position()
    published = await imported(store, keyring, alicia, people(3))
    assert (published.revision, published.added, published.changed, published.removed, published.unchanged) == (
        1, 3, 0, 0, 0,
    )  # fmt: skip
    assert await entries_of(store, keyring, alicia) == people(3)
    head = await store.list_head(alicia)
    assert head is not None
    assert (head.entries, head.active, head.created_by, head.source) == (3, 3, "cli:root", "import")
    assert head.created_at <= published.committed_at
    assert await store.changes_since(position) == [
        Change(Kind.LIST, "organizer:alicia", published.position, published.committed_at)
    ]


async def test_a_large_list_is_kept_in_parts(store: Store, keyring: Keyring, alicia: Owner, people: People) -> None:
    """No part is larger than 256 KiB, and the list comes back whole."""
    await imported(store, keyring, alicia, people(8_000))
    head = await store.list_head(alicia)
    assert head is not None
    parts = [part async for part in store.parts(head)]
    assert len(parts) == head.parts > 1
    assert max(map(len, parts)) == PART_SIZE + 28
    assert await entries_of(store, keyring, alicia) == people(8_000)


async def test_a_list_replaces_the_one_before(store: Store, keyring: Keyring, alicia: Owner, people: People) -> None:
    """What changed is counted against the list before, which is kept."""
    await imported(store, keyring, alicia, people(3))
    published = await imported(store, keyring, alicia, [*people(1), *people(2, "Jane")[1:], *people(5)[4:]])
    assert (published.revision, published.added, published.changed, published.removed, published.unchanged) == (
        2, 1, 1, 1, 1,
    )  # fmt: skip
    assert await entries_of(store, keyring, alicia, 1) == people(3)


async def test_the_same_list_again_makes_no_revision(
    store: Store, keyring: Keyring, alicia: Owner, people: People
) -> None:
    """Nothing to change: no revision, no word in the feed, whatever the order of the lines."""
    first = await imported(store, keyring, alicia, people(3))
    again = await imported(store, keyring, alicia, people(3)[::-1])
    assert (again.revision, again.position, again.unchanged) == (1, first.position, 3)
    assert len(await store.revisions(alicia)) == 1


async def test_an_empty_list_where_there_is_none_changes_nothing(store: Store, keyring: Keyring, alicia: Owner) -> None:
    """An owner without a list is at revision 0."""
    assert (await imported(store, keyring, alicia, [])).revision == 0
    assert await read_list(store, keyring, alicia) is None


async def test_an_inactive_entry_is_a_change(store: Store, keyring: Keyring, alicia: Owner, people: People) -> None:
    """The active flag is a part of the entry, and is counted in the head."""
    await imported(store, keyring, alicia, people(1))
    inactive = msgspec.structs.replace(people(1)[0], active=False)
    assert (await imported(store, keyring, alicia, [inactive])).changed == 1
    head = await store.list_head(alicia)
    assert head is not None
    assert (head.entries, head.active) == (1, 0)


@pytest.mark.parametrize(
    "owner",
    [Owner(Level.ORGANIZER, "nobody"), Owner(Level.COMPANY, "alicia"), Owner(Level.AUTHORIZATION_CODE, "1")],
    ids=str,
)
async def test_nobody_has_no_list(store: Store, keyring: Keyring, people: People, owner: Owner) -> None:
    """A list belongs to an owner that the directory holds, at that level."""
    with pytest.raises(NotFound, match="there is no"):
        await imported(store, keyring, owner, people(1))
    assert await store.list_head(owner) is None


async def test_a_pin_that_stands_twice_changes_nothing(
    store: Store, keyring: Keyring, alicia: Owner, people: People
) -> None:
    """The list stays as it was."""
    await imported(store, keyring, alicia, people(3))
    with pytest.raises(InvalidValue):
        await imported(store, keyring, alicia, people(2) + people(1))
    assert await entries_of(store, keyring, alicia) == people(3)


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_a_change_of_an_older_state_is_refused(
    store: Store, keyring: Keyring, alicia: Owner, people: People, expected: int
) -> None:
    """Somebody was faster: the list stays as that one left it."""
    await imported(store, keyring, alicia, people(1))
    await imported(store, keyring, alicia, people(2))
    with pytest.raises(StaleRevision, match=f"at revision 2, no longer at {expected}"):
        await publish(store, keyring, alicia, people(3), by="ann", source="edit", expected_revision=Revision(expected))
    assert await entries_of(store, keyring, alicia) == people(2)


async def test_of_two_edits_at_once_one_is_refused(
    store: Store, url: str, keyring: Keyring, alicia: Owner, people: People
) -> None:
    """Both began from revision 0, and only one can be revision 1."""
    async with open_store(url) as second:
        results = await asyncio.gather(
            *(
                publish(one, keyring, alicia, people(n), by="ann", source="edit", expected_revision=Revision(0))
                for one, n in ((store, 1), (second, 2))
            ),
            return_exceptions=True,
        )
    (published,) = [result for result in results if isinstance(result, Published)]
    (refused,) = [result for result in results if isinstance(result, BaseException)]
    assert isinstance(refused, StaleRevision)
    assert published.revision == 1
    assert len(await entries_of(store, keyring, alicia)) == published.added


async def test_imports_at_once_all_succeed(store: Store, keyring: Keyring, alicia: Owner, people: People) -> None:
    """Each has a revision of its own, and tells what it changed of the one before."""
    results = await asyncio.gather(*(imported(store, keyring, alicia, people(n)) for n in range(1, 5)))
    by_revision = sorted(results, key=lambda result: result.revision)
    assert [result.revision for result in by_revision] == [1, 2, 3, 4]
    count = 0
    for result in by_revision:
        count += result.added - result.removed
        assert count == len(await entries_of(store, keyring, alicia, result.revision))


async def test_the_last_revisions_are_kept(
    store: Store, keyring: Keyring, alicia: Owner, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty are, and older ones are gone with their parts; here, for speed, it is three."""
    assert KEPT_REVISIONS == 20
    monkeypatch.setattr("loader.store.writing.KEPT_REVISIONS", 3)
    for count in range(1, 6):
        await imported(store, keyring, alicia, people(count))
    assert [listed.revision for listed in await store.revisions(alicia)] == [5, 4, 3]
    assert await read_list(store, keyring, alicia, 2) is None
    assert await entries_of(store, keyring, alicia, 3) == people(3)


async def test_a_kept_revision_can_be_put_back(store: Store, keyring: Keyring, alicia: Owner, people: People) -> None:
    """It becomes a new revision, so that this can be taken back too."""
    await imported(store, keyring, alicia, people(2))
    await imported(store, keyring, alicia, people(3, "Jane"))
    published = await put_back(store, keyring, alicia, Revision(1), by="ann")
    assert (published.revision, published.changed, published.removed) == (3, 2, 1)
    assert await entries_of(store, keyring, alicia) == people(2)
    assert [listed.source for listed in await store.revisions(alicia)] == ["restore", "import", "import"]
    with pytest.raises(NotFound, match="revision 7 of the list of organizer alicia is not kept"):
        await put_back(store, keyring, alicia, Revision(7), by="ann")


async def test_the_wrong_key_changes_nothing(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: People, tmp_path: Path
) -> None:
    """A key file of another database is refused for reading, for replacing, and for a first list."""
    await imported(store, keyring, alicia, people(1))
    position = await store.position()
    wrong = Keyring.create(tmp_path / "wrong.key")
    with pytest.raises(KeyFileError, match=keyring.current):
        await read_list(store, wrong, alicia)
    for owner in (alicia, globaltest):
        with pytest.raises(KeyFileError, match=keyring.current):
            await imported(store, wrong, owner, people(2))
    assert await store.position() == position
    assert await entries_of(store, keyring, alicia) == people(1)


SPOILED = {
    "a missing part": "DELETE FROM list_part WHERE revision = 2 AND part = 1",
    "a missing last part": "DELETE FROM list_part WHERE revision = 2 AND part = (SELECT max(part) FROM list_part)",
    "no part": "DELETE FROM list_part WHERE revision = 2",
    "a part of the revision before": """
        UPDATE list_part SET ciphertext = (SELECT ciphertext FROM list_part WHERE revision = 1 AND part = 0)
        WHERE revision = 2 AND part = 0""",
    "a part in another's place": """
        UPDATE list_part SET ciphertext = (SELECT ciphertext FROM list_part WHERE revision = 2 AND part = 0)
        WHERE revision = 2 AND part = 1""",
    "a changed part": "UPDATE list_part SET ciphertext = zeroblob(length(ciphertext)) WHERE revision = 2 AND part = 1",
    "an emptied part": "UPDATE list_part SET ciphertext = x'' WHERE revision = 2 AND part = 1",
    "another number of parts": "UPDATE list_revision SET parts = parts - 1 WHERE revision = 2",
    "another size": "UPDATE list_revision SET size = size + 1 WHERE revision = 2",
    "an endless size": "UPDATE list_revision SET size = 4611686018427387904 WHERE revision = 2",
    "the revision before under a new number": """
        UPDATE list_part SET ciphertext = (
            SELECT ciphertext FROM list_part AS old WHERE old.revision = 1 AND old.part = list_part.part
        ) WHERE revision = 2""",
}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("statement", SPOILED.values(), ids=SPOILED)
async def test_a_list_that_was_tampered_with_is_refused(
    store: Store,
    keyring: Keyring,
    alicia: Owner,
    globaltest: Owner,
    people: People,
    tmp_path: Path,
    statement: str,
) -> None:
    """The error names the list, the other lists can be read, and a new import mends it."""
    await imported(store, keyring, alicia, people(LARGE))
    await imported(store, keyring, alicia, people(LARGE, "Jane"))
    assert sql(tmp_path, statement) > 0
    with pytest.raises(BlockError, match="the list of organizer alicia, revision 2"):
        await read_list(store, keyring, alicia)
    await imported(store, keyring, globaltest, people(1))
    found = {listed.owner: block async for listed, block in read_lists(store, keyring)}
    assert isinstance(found[alicia], BlockError)
    assert isinstance(found[globaltest], Block)
    assert (await imported(store, keyring, alicia, people(3))).revision == 3
    assert await entries_of(store, keyring, alicia) == people(3)


async def test_another_owners_list_is_refused(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: People, tmp_path: Path
) -> None:
    """A list of the same revision and size, put in the place of another owner's, is not opened."""
    await imported(store, keyring, alicia, people(3))
    await imported(store, keyring, globaltest, people(3, "Jane"))
    stolen = "SELECT ciphertext FROM list_part WHERE level = 'company'"
    assert sql(tmp_path, f"UPDATE list_part SET ciphertext = ({stolen}) WHERE level = 'organizer'") == 1
    with pytest.raises(BlockError, match="organizer alicia"):
        await read_list(store, keyring, alicia)


@pytest.mark.usefixtures("small_parts")
async def test_all_lists_in_force_are_read_at_start(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: People, tmp_path: Path
) -> None:
    """Large and small, the latest revision of each, and those under a missing key are named."""
    await imported(store, keyring, alicia, people(1))
    await imported(store, keyring, alicia, people(LARGE))
    await imported(store, keyring, globaltest, people(2))
    found = {listed.owner: block async for listed, block in read_lists(store, keyring)}
    assert {owner: block.count for owner, block in found.items() if isinstance(block, Block)} == {
        alicia: LARGE,
        globaltest: 2,
    }
    wrong = Keyring.create(tmp_path / "wrong.key")
    assert [type(block) async for _, block in read_lists(store, wrong)] == [KeyFileError, KeyFileError]


# Rotation


@pytest.mark.usefixtures("small_parts")
async def test_rotation_puts_every_kept_revision_under_a_new_key(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: People
) -> None:
    """The old key goes, the lists and the feed stay as they were, and an old keyring finds the new key by itself."""
    await imported(store, keyring, alicia, people(1))
    await imported(store, keyring, alicia, people(LARGE))
    await imported(store, keyring, globaltest, people(2))
    position = await store.position()
    rotated = await rotate_key(store, keyring)
    assert keyring.current not in rotated.key_ids
    assert Keyring.load(keyring.path).key_ids == rotated.key_ids == {rotated.current}
    assert {listed.key_id async for listed in store.lists()} == {rotated.current}
    for ring in (rotated, keyring):
        assert await entries_of(store, ring, alicia, 1) == people(1)
        assert await entries_of(store, ring, alicia) == people(LARGE)
        assert all([isinstance(block, Block) async for _, block in read_lists(store, ring)])
    assert await store.position() == position


async def test_a_writer_from_before_a_rotation_seals_under_the_new_key(
    store: Store, keyring: Keyring, alicia: Owner, people: People
) -> None:
    """Nothing is ever encrypted under a key that was forgotten."""
    await imported(store, keyring, alicia, people(1))
    rotated = await rotate_key(store, keyring)
    await imported(store, keyring, alicia, people(2))
    assert {listed.key_id for listed in await store.revisions(alicia)} == {rotated.current}
    assert await entries_of(store, rotated, alicia) == people(2)


async def test_each_rotation_makes_a_new_key(store: Store, keyring: Keyring) -> None:
    """Also where there is no list yet."""
    first = await rotate_key(store, keyring)
    second = await rotate_key(store, first)
    assert len({keyring.current, first.current, second.current}) == 3
    assert Keyring.load(keyring.path).key_ids == {second.current}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("owner", "step", "times"),
    [
        (Writing, "use_key", 0),
        (Writing, "finish", 0),
        (Writing, "seal_again", 0),
        (Writing, "seal_again", 1),
        (Keyring, "seal_again", 1),
        (Keyring, "seal_again", 2),
        (Writing, "key_ids", 0),
        (Keyring, "without", 0),
    ],
)
async def test_a_rotation_that_was_stopped_is_finished_by_the_next(
    store: Store,
    keyring: Keyring,
    alicia: Owner,
    globaltest: Owner,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    times: int,
) -> None:
    """Wherever it stops, all lists can be read and replaced; run again, it ends with one key."""

    class Stopped(BaseException):
        """As SIGKILL would."""

    await imported(store, keyring, alicia, people(LARGE))
    await imported(store, keyring, globaltest, people(2))
    wrapped, calls = getattr(owner, step), 0

    def stopping(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls > times:
            raise Stopped
        return wrapped(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, stopping)
        with pytest.raises(Stopped):
            await rotate_key(store, keyring)

    found = Keyring.load(keyring.path)
    assert await entries_of(store, found, alicia) == people(LARGE)
    await imported(store, found, globaltest, people(3))
    rotated = await rotate_key(store, found)
    assert Keyring.load(keyring.path).key_ids == {rotated.current}
    assert await entries_of(store, rotated, alicia) == people(LARGE)
    assert await entries_of(store, rotated, globaltest) == people(3)


async def test_a_damaged_revision_does_not_keep_the_others_from_being_rotated(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: People, tmp_path: Path
) -> None:
    """It is named, it stays under its old key, and that key stays in the file."""
    await imported(store, keyring, alicia, people(1))
    await imported(store, keyring, globaltest, people(2))
    sql(tmp_path, "UPDATE list_part SET ciphertext = zeroblob(length(ciphertext)) WHERE level = 'company'")
    with pytest.raises(BlockError, match="company globaltest, revision 1"):
        await rotate_key(store, keyring)
    found = Keyring.load(keyring.path)
    assert len(found.key_ids) == 2
    assert keyring.current in found.key_ids
    assert await entries_of(store, found, alicia) == people(1)
    head = await store.list_head(alicia)
    assert head is not None
    assert head.key_id == found.current


async def test_rotation_with_the_wrong_key_file_changes_nothing(
    store: Store, keyring: Keyring, alicia: Owner, people: People, tmp_path: Path
) -> None:
    """The file of another database gets no new key, and this one's lists stay under theirs."""
    await imported(store, keyring, alicia, people(1))
    wrong = Keyring.create(tmp_path / "wrong.key")
    with pytest.raises(KeyFileError, match=keyring.current):
        await rotate_key(store, wrong)
    assert Keyring.load(wrong.path).key_ids == {wrong.current}
    assert await entries_of(store, keyring, alicia) == people(1)


async def test_a_list_replaced_while_it_is_read_is_read_again(
    store: Store, keyring: Keyring, alicia: Owner, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put under another key between two looks, a list is looked at once more instead of being called damaged."""
    await imported(store, keyring, alicia, people(3))
    before = await store.list_head(alicia)
    await rotate_key(store, keyring)
    looks = iter([before])
    list_head = Store.list_head

    async def late(self: Store, owner: Owner, revision: int | None = None) -> object:
        return next(looks, None) or await list_head(self, owner, revision)

    monkeypatch.setattr(Store, "list_head", late)
    # The reader still has the old key, and knows the list under it.
    assert await entries_of(store, keyring, alicia) == people(3)


async def test_positions_go_up_by_one_with_each_change(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: People
) -> None:
    """The feed has no gap, whoever writes."""
    start = await store.position()
    for owner, count in ((alicia, 1), (globaltest, 1), (alicia, 2)):
        await imported(store, keyring, owner, people(count))
    changes = await store.changes_since(start)
    assert [(change.id, change.position) for change in changes] == [
        ("company:globaltest", Position(start + 2)),
        ("organizer:alicia", Position(start + 3)),
    ]


async def test_a_list_for_several_owners_is_put_in_force_for_all_or_for_none(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: Callable[..., list[Entry]]
) -> None:
    """One of them has another list than was thought: nobody gets the new one."""
    await publish(store, keyring, alicia, people(2), by="test", source="import")
    owners = {globaltest: Revision(0), alicia: Revision(1)}
    with pytest.raises(StaleRevision, match="organizer alicia is at revision 1, no longer at 7"):
        await publish_to_all(store, keyring, owners | {alicia: Revision(7)}, people(3), by="test", source="upload")
    assert await store.list_head(globaltest) is None
    done = await publish_to_all(store, keyring, owners, people(3), by="test", source="upload")
    assert [(len(one.added), one.unchanged) for one in done.values()] == [(3, 0), (1, 2)]
    for owner, revision in ((globaltest, 1), (alicia, 2)):
        head = await store.list_head(owner)
        assert head is not None
        assert (head.revision, head.entries, head.source) == (revision, 3, "upload")
    assert len({change.committed_at for change in (await store.changes_since(Position(0)))[-2:]}) == 1


async def test_what_changes_nothing_for_one_of_several_makes_no_revision_there(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: Callable[..., list[Entry]]
) -> None:
    await publish(store, keyring, alicia, people(2), by="test", source="import")
    owners = {globaltest: Revision(0), alicia: Revision(1)}
    await publish_to_all(store, keyring, owners, people(2), by="test", source="upload")
    head = await store.list_head(alicia)
    assert head is not None
    assert head.revision == 1


def with_pins(entries: list[Entry], *pins: str) -> list[Entry]:
    return [msgspec.structs.replace(one, pin=Pin(pin)) for one, pin in zip(entries, pins, strict=True)]


async def test_no_pin_enters_a_list_that_is_shorter_than_its_company_asks_for(
    store: Store, keyring: Keyring, alicia: Owner, globaltest: Owner, people: People
) -> None:
    """By no way. Those that were there before may stay, be edited, and be taken out."""
    await imported(store, keyring, alicia, with_pins(people(3), "1234", "12345", "123456"))
    await imported(store, keyring, alicia, with_pins(people(2), "1234", "123456"))
    await Choices(store).set_minimum_pin_digits("globaltest", 6)
    with pytest.raises(PinTooShort) as short:
        await imported(store, keyring, alicia, with_pins(people(3), "1234", "54321", "432109"))
    assert (short.value.count, short.value.minimum, "54321" in str(short.value)) == (1, 6, False)
    with pytest.raises(PinTooShort):
        await put_back(store, keyring, alicia, Revision(1), by="test")
    lists = {alicia: Revision(2), globaltest: Revision(0)}
    with pytest.raises(PinTooShort):
        await publish_to_all(store, keyring, lists, with_pins(people(1), "1234"), by="test", source="upload")
    assert [one.pin for one in await entries_of(store, keyring, alicia)] == ["1234", "123456"]
    await imported(store, keyring, alicia, with_pins(people(2, "Jane"), "1234", "123456"))
    await imported(store, keyring, alicia, with_pins(people(1, "Jane"), "1234"))
    await put_back(store, keyring, alicia, Revision(2), by="test")
    assert await store.list_head(globaltest) is None


async def test_the_choice_of_one_company_is_nothing_to_another(
    store: Store, keyring: Keyring, alicia: Owner, people: People
) -> None:
    await Choices(store).set_minimum_pin_digits("other", 6)
    await imported(store, keyring, alicia, with_pins(people(1), "12"))
