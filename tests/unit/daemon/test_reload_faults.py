"""Following the database: what stays in force when something is wrong, and how it mends itself."""

import asyncio
import gc
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon import reload as module
from loader.errors import KeyFileError
from loader.index import Reason
from loader.keyring import Keyring
from loader.model import Entry, Level, Owner, Switch
from loader.publish import publish
from loader.rotate import rotate_key
from loader.store import Store, migrate, open_store
from tests.unit.daemon import faults
from tests.unit.daemon.conftest import Followed, People, Put, connections_in_use, during, events
from tests.unit.daemon.faults import Mend, backup, execute, put_in_place, remove, restore, tamper

CODE = Owner(Level.AUTHORIZATION_CODE, "3625046")
NOBODY = 65534


# A list


async def test_a_list_that_was_tampered_with_keeps_its_last_good_state(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """It is counted, and named once in the log; the others go in force."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    await put(alicia, people(1, "Mallory"))
    await put(CODE, people(2, "Ben"))
    tamper(database, "alicia")
    (told,) = await followed.look(2)
    assert (followed.first_name("000000"), followed.first_name("000001")) == ("Ann", "Ben")
    assert (told["event"], told["log_level"]) == ("list_not_opened", "error")
    assert (told["owner"], told["revision"]) == ("organizer:alicia", 2)
    assert "damaged or tampered with" in told["problem"]
    assert followed.metric("rollcall_lists_not_applied") == 1
    assert followed.metric("rollcall_reload_failures_total") == 1
    readiness = followed.health.readiness(0.0)
    assert (readiness.lists_not_applied, readiness.problem) == (1, None)


async def test_a_list_that_is_imported_again_is_in_force_at_once(
    followed: Followed, store: Store, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """However long ago the damaged one was tried for the last time."""
    await put(alicia, people(1, "Mallory"))
    tamper(database, "alicia")
    await followed.look(3)
    await put(alicia, people(1, "Cleo"))
    assert await followed.look() == []
    assert followed.first_name("000000") == "Cleo"
    assert followed.metric("rollcall_lists_not_applied") == 0
    assert followed.health.position == await store.position()


async def test_a_list_that_is_damaged_once_more_is_named_once_more(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """By its newest revision."""
    revisions = []
    for name in ("Mallory", "Trudy"):
        await put(alicia, people(1, name))
        tamper(database, "alicia")
        revisions += [line["revision"] for line in await followed.look()]
    assert revisions == [1, 2]
    assert followed.metric("rollcall_lists_not_applied") == 1


async def test_nobody_is_told_that_a_damaged_list_is_in_force(
    followed: Followed, store: Store, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """The position stays before it, so that no page says so, until it can be opened or is replaced."""
    await put(CODE, people(1, "Ben"))
    await followed.look()
    before = await store.position()
    await put(alicia, people(1, "Mallory"))
    tamper(database, "alicia")
    await put(CODE, people(2, "Ben"))
    await followed.look()
    assert followed.first_name("000001") == "Ben"
    assert followed.health.position == followed.follower.position == before
    assert followed.metric("rollcall_position_applied") == before
    followed.follower.applied.clear()
    await followed.look()
    assert not followed.follower.applied.is_set()

    await put(alicia, people(1, "Cleo"))
    await followed.look()
    assert followed.health.position == await store.position()


async def test_a_list_that_is_mended_in_place_is_taken_by_itself(
    followed: Followed,
    put: Put,
    alicia: Owner,
    people: People,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing in the feed tells of it: it is tried again, at first soon and then more rarely."""
    monkeypatch.setattr(module, "_TRY_AGAIN", (0.01, 0.05))
    await put(alicia, people(1, "Ann"))
    good = database.with_suffix(".good")
    backup(database, good)
    tamper(database, "alicia")
    await followed.look(3)
    assert followed.ask("000000").reason is Reason.UNKNOWN_PIN
    with closing(sqlite3.connect(good)) as connection:
        ((part,),) = connection.execute("SELECT ciphertext FROM list_part").fetchall()
    execute(database, f"UPDATE list_part SET ciphertext = x'{part.hex()}'")
    async with asyncio.timeout(5):
        while followed.first_name("000000") != "Ann":
            await followed.look()
    assert followed.metric("rollcall_lists_not_applied") == 0


TAMPERED = {
    "cut short": ("UPDATE list_revision SET size = size - 1", "tampered with"),
    "too large for its parts": ("UPDATE list_revision SET size = 300000", "tampered with"),
    "larger than any memory": ("UPDATE list_revision SET size = 1 << 62, parts = 1 << 44", "there is no room"),
    "less than nothing": ("UPDATE list_revision SET size = -5, parts = 0", "tampered with"),
    "without parts": ("DELETE FROM list_part", "tampered with"),
    "with another list's part": (
        "UPDATE list_part SET ciphertext = (SELECT ciphertext FROM list_part LIMIT 1 OFFSET 1)",
        "tampered with",
    ),
}


@pytest.mark.parametrize(("statement", "why"), TAMPERED.values(), ids=TAMPERED.keys())
async def test_whatever_was_done_to_a_list_the_others_go_in_force(
    store: Store,
    keyring: Keyring,
    url: str,
    followed: Followed,
    put: Put,
    alicia: Owner,
    globaltest: Owner,
    people: People,
    database: Path,
    statement: str,
    why: str,
) -> None:
    """While the daemon runs and at its start."""
    await put(alicia, people(2, "Mallory"))
    await put(globaltest, people(1, "Ben"))
    execute(database, "PRAGMA foreign_keys = OFF", f"{statement} WHERE owner_id = 'alicia'")
    for one in (followed, Followed(store, keyring, url)):
        logged = await (one.look() if one is followed else one.load())
        assert one.first_name("000000") == "Ben"
        assert one.health.problem is None
        (told,) = [line for line in logged if line["log_level"] == "error"]
        assert (told["event"], told["owner"]) == ("list_not_opened", "organizer:alicia")
        assert why in told["problem"]
        assert one.metric("rollcall_lists_not_applied") == 1


async def test_one_bad_list_at_the_start_does_not_keep_the_others_out(
    store: Store, keyring: Keyring, url: str, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """It is not told to be in force either."""
    await put(alicia, people(1, "Ann"))
    await put(CODE, people(1, "Ben"))
    tamper(database, "alicia")
    followed = Followed(store, keyring, url)
    assert events(await followed.load()) == ["list_not_opened", "index_loaded"]
    assert followed.first_name("000000") == "Ben"
    assert followed.metric("rollcall_lists_not_applied") == 1
    assert followed.health.position < await store.position()
    assert await followed.look() == []
    await put(alicia, people(1, "Cleo"))
    await followed.look()
    assert followed.first_name("000000") == "Cleo"
    assert followed.health.position == await store.position()


# A key


async def test_a_missing_key_keeps_the_last_good_state(
    followed: Followed,
    store: Store,
    keyring: Keyring,
    put: Put,
    alicia: Owner,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log says which list, which revision, and what to do; with the key back it is in force by itself."""
    monkeypatch.setattr(module, "_TRY_AGAIN", (0.01, 0.05))
    await put(alicia, people(1, "Ann"))
    await followed.look()
    before = keyring.path.read_bytes()
    rotated = await rotate_key(store, keyring)
    after = keyring.path.read_bytes()
    await publish(store, rotated, alicia, people(1, "Ben"), by="test", source="import")
    keyring.path.write_bytes(before)
    (told,) = await followed.look(3)
    assert (told["event"], told["owner"], told["revision"]) == ("list_not_opened", "organizer:alicia", 2)
    assert "put that file back" in told["problem"]
    assert followed.first_name("000000") == "Ann"
    keyring.path.write_bytes(after)
    async with asyncio.timeout(5):
        while followed.first_name("000000") != "Ben":
            await followed.look()


async def test_keys_that_are_read_again_open_what_could_not_be_opened_at_the_next_look(
    followed: Followed, store: Store, keyring: Keyring, alicia: Owner, people: People
) -> None:
    """As on SIGHUP, after the key file was put in another place."""
    rotated = await rotate_key(store, keyring)
    await publish(store, rotated, alicia, people(1, "Ann"), by="test", source="import")
    elsewhere = keyring.path.with_name("other.key")
    keyring.path.rename(elsewhere)
    assert events(await followed.look(2)) == ["list_not_opened"]
    followed.follower.take(Keyring.load(elsewhere))
    assert await followed.look() == []
    assert followed.first_name("000000") == "Ann"


async def test_without_the_database_s_key_it_does_not_start(
    store: Store, url: str, put: Put, alicia: Owner, people: People, tmp_path: Path
) -> None:
    """Nothing is in force then: half of the lists would turn callers away."""
    await put(alicia, people(1, "Ann"))
    followed = Followed(store, Keyring.create(tmp_path / "other.key"), url)
    with pytest.raises(KeyFileError, match="put that file back"):
        await followed.load()
    assert (followed.live.index, followed.health.loaded) == (None, False)


# Another database


async def test_a_backup_that_is_restored_is_read_again_as_a_whole(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """The feed stands further back: what the backup holds is in force, and what it does not hold is not."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    backup(database, database.with_suffix(".backup"))
    await put(alicia, people(1, "Ben"))
    await put(CODE, people(2, "Cleo"))
    await followed.look()
    restore(database.with_suffix(".backup"), database)
    logged = await followed.look()
    assert [(line["event"], line["log_level"]) for line in logged] == [("feed_restarted", "warning")]
    assert (followed.first_name("000000"), followed.first_name("000001")) == ("Ann", None)
    assert (followed.metric("rollcall_index_lists"), followed.metric("rollcall_index_entries")) == (1, 1)
    assert followed.metric("rollcall_loads_total") == 2
    await put(CODE, people(2, "Dora"))
    assert await followed.look() == []
    assert followed.first_name("000001") == "Dora"


@pytest.mark.parametrize("further", [-1, 0, 1, 50])
@pytest.mark.parametrize("seen_gone", [False, True])
async def test_another_file_in_the_database_s_place_is_read_again(
    followed: Followed,
    put: Put,
    alicia: Owner,
    people: People,
    database: Path,
    keyring: Keyring,
    further: int,
    seen_gone: bool,
) -> None:
    """Wherever its feed stands, and also if the system has given it the number of the file before."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    other = database.with_suffix(".other")
    backup(database, other)
    async with open_store(f"sqlite:///{other}") as others:
        await publish(others, keyring, alicia, people(1, "Ben"), by="test", source="import")
        position = followed.health.position + further
        execute(other, f"UPDATE feed SET position = {position}", f"UPDATE change SET position = {position} - rowid")
    if seen_gone:
        remove(database)
        assert events(await followed.look()) == ["database_unavailable"]
        shutil.copy(other, database)
    else:
        put_in_place(other, database)
    logged = events(await followed.look())
    assert logged == ["database_replaced", "database_back"] if seen_gone else ["database_replaced"]
    assert followed.first_name("000000") == "Ben"
    assert followed.health.position == position
    assert await followed.look() == []


async def test_an_empty_database_in_its_place_silences_nobody(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """It is told once, however often it is looked at, and costs no memory; the real one is taken when it is back."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    real, empty = database.with_suffix(".real"), database.with_suffix(".empty")
    backup(database, real)
    await migrate(f"sqlite:///{empty}")
    put_in_place(empty, database)
    (told,) = await followed.look(3)
    assert told["event"] == "database_unavailable"
    assert "holds no conference; what was loaded before stays in force" in told["problem"]
    assert followed.first_name("000000") == "Ann"
    assert followed.health.problem == told["problem"]
    frozen = gc.get_freeze_count()
    assert await followed.look(20) == []
    assert gc.get_freeze_count() <= frozen
    put_in_place(real, database)
    assert events(await followed.look()) == ["database_replaced", "database_back"]
    await put(alicia, people(1, "Ben"))
    await followed.look()
    assert followed.first_name("000000") == "Ben"


async def test_an_emptied_database_silences_nobody_either(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """As when an empty one is restored into the file."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    empty = database.with_suffix(".empty")
    await migrate(f"sqlite:///{empty}")
    restore(empty, database)
    assert events(await followed.look(3)) == ["database_unavailable"]
    assert followed.first_name("000000") == "Ann"


async def test_no_change_is_missed_after_another_database_was_refused(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path
) -> None:
    """However far on the feed of the other one was, and whatever happened meanwhile to the real one."""
    await put(alicia, people(1, "Ann"))
    await followed.look()
    empty, real = database.with_suffix(".empty"), database.with_suffix(".real")
    await migrate(f"sqlite:///{empty}")
    position = followed.health.position + 3
    execute(
        empty,
        f"UPDATE feed SET position = {position}",
        f"INSERT INTO change (kind, id, position, committed_at) VALUES ('switch', 'x', {position}, 0)",
    )
    execute(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    database.rename(real)
    put_in_place(empty, database)
    await followed.look(2)
    faults.remove_log(database)
    real.replace(database)
    await put(alicia, people(1, "Cleo"))
    for name in ("Ben", "Dora", "Ben", "Dora"):
        await put(CODE, people(1, name))
    await followed.look()
    assert followed.first_name("000000") == "Cleo"


async def test_a_database_that_is_read_again_hides_no_list_meanwhile(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that cannot be opened in the new database: its last good state is in force before, after, and between."""
    monkeypatch.setattr("daemon.pace._PIECE", -1.0)
    await put(alicia, people(1, "Ann"))
    await put(CODE, people(2, "Ben"))
    await followed.look()
    other = database.with_suffix(".other")
    backup(database, other)
    tamper(other, "alicia")
    put_in_place(other, database)
    answers = await during(
        followed.follower.look(), lambda: (followed.first_name("000000"), followed.first_name("000001"))
    )
    assert set(answers) == {("Ann", "Ben")}
    assert followed.metric("rollcall_loads_total") == 2
    assert followed.metric("rollcall_lists_not_applied") == 1


# No database


BROKEN = [
    faults.renamed,
    faults.deleted,
    faults.not_a_database,
    faults.a_folder,
    faults.a_newer_version,
    faults.without_a_table,
]


@pytest.mark.parametrize("break_", BROKEN)
async def test_without_a_database_all_stays_in_force_until_it_is_back(
    followed: Followed,
    store: Store,
    put: Put,
    alicia: Owner,
    people: People,
    database: Path,
    break_: Callable[[Path], Mend],
) -> None:
    """It is told once in the log, and in the metric of failures each time; and it mends itself."""
    await put(alicia, people(1, "Ann"))
    await store.add_switch(Switch.new("pbx-1", bytes(32), 0.0))
    await followed.look()
    mend = break_(database)
    logged = await followed.look(3)
    assert events(logged) == ["database_unavailable"]
    assert followed.first_name("000000") == "Ann"
    assert followed.switches == {bytes(32): "pbx-1"}
    assert followed.health.problem == logged[0]["problem"]
    assert str(database) in logged[0]["problem"]
    assert followed.metric("rollcall_reload_failures_total") == 3
    mend()
    assert events(await followed.look())[-1] == "database_back"
    assert followed.health.readiness(0.0).problem is None
    await put(alicia, people(1, "Ben"))
    await followed.look()
    assert followed.first_name("000000") == "Ben"
    assert followed.health.position == await store.position()


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_a_locked_database_is_read_all_the_same(
    followed: Followed, put: Put, alicia: Owner, people: People, database: Path, lock: str
) -> None:
    """Readers do not wait for a writer, not even for one that never ends."""
    await put(alicia, people(1, "Ann"))
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(lock)
        assert await followed.look() == []
    assert followed.first_name("000000") == "Ann"


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder, and a process that is not root's: root may write anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        was = os.geteuid()
        if was == 0:
            os.chown(folder, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(was)


async def test_a_read_only_database_is_followed(
    plain_user: Path, made: Path, example: bytes, alicia: Owner, people: Callable[..., list[Entry]]
) -> None:
    """What somebody else commits is in force; that the daemon itself cannot write is not its business."""
    content = b""
    was = os.geteuid()
    os.seteuid(os.getuid())
    content = made.read_bytes()
    os.seteuid(was)
    file = plain_user / "rollcall.db"
    file.write_bytes(content)
    url = f"sqlite:///{file}"
    keyring = Keyring.create(plain_user / "rollcall.key")
    async with open_store(url) as writer:
        await publish(writer, keyring, alicia, people(1, "Ann"), by="test", source="import")
        file.chmod(0o444)
        async with open_store(url) as store:
            followed = Followed(store, keyring, url)
            await followed.load()
            await publish(writer, keyring, alicia, people(1, "Ben"), by="test", source="import")
            assert await followed.look() == []
            assert followed.first_name("000000") == "Ben"


async def test_looks_become_rarer_while_they_fail(followed: Followed, database: Path) -> None:
    """Up to one a second, and at once as often as before when the database is back."""
    mend = faults.renamed(database)
    waits = []
    for _ in range(10):
        await followed.look()
        waits.append(followed.follower._back_off)
    assert waits == sorted(waits)
    assert waits[0] == 0.01
    assert waits[-1] == 1.0
    mend()
    await followed.look()
    assert followed.follower._back_off == 0.0


# What nobody thought of


class NeverThoughtOf(Exception):
    """Not one of ours."""


@pytest.mark.parametrize("method", ["position", "changes_since", "list_head", "switches"])
async def test_an_error_that_nobody_thought_of_does_not_end_the_following(
    followed: Followed,
    store: Store,
    put: Put,
    alicia: Owner,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    """Wherever it comes from: it is told with a traceback, and the next look tries again."""

    async def broken(*_: object) -> None:
        raise NeverThoughtOf

    await put(alicia, people(1, "Ann"))
    await store.add_switch(Switch.new("pbx-1", bytes(32), 0.0))
    with monkeypatch.context() as patched:
        patched.setattr(store, method, broken)
        logged = await followed.look()
    assert events(logged) == ["database_unavailable", "reload_failed"]
    assert logged[1]["exc_info"]
    assert followed.health.problem == "NeverThoughtOf"
    assert events(await followed.look()) == ["database_back"]
    assert followed.first_name("000000") == "Ann"
    assert followed.switches == {bytes(32): "pbx-1"}


async def test_a_look_that_is_cancelled_leaves_nothing_behind(
    followed: Followed, store: Store, put: Put, alicia: Owner, people: People, url: str, keyring: Keyring
) -> None:
    """Wherever it is stopped: no connection stays out, no lock stays held, and the next look does all of it."""
    await put(alicia, people(3000, "Ann"))
    for turns in range(0, 60, 3):
        one = Followed(store, keyring, url)
        looking = asyncio.create_task(_load_and_look(one))
        for _ in range(turns):
            await asyncio.sleep(0)
        looking.cancel()
        await asyncio.wait((looking,))
        assert connections_in_use(store) == 0
    await put(alicia, people(1, "Ben"))
    await followed.look()
    assert followed.first_name("000000") == "Ben"


async def _load_and_look(followed: Followed) -> None:
    await followed.load()
    await followed.look()
