"""The journal: what was kept is read again, whatever happens to daemon and disk."""

import asyncio
import errno
import os
import shutil
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from daemon import journal as journals
from daemon.journal import Journal, JournalError
from loader.errors import KeyFileError
from loader.journal_files import JournalReader, bytes_used, record, segment_file, segments
from loader.keyring import FollowedKeys, Keyring
from loader.roll import Admitted, Event, Joined, Left, Refused
from loader.store.rolls import BEGINNING, Progress


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def left(number: int) -> Left:
    return Left(float(number), "pbx-1", str(number))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(folder: Path, keyring: Keyring, **how: object) -> AsyncIterator[Journal]:
    journal = Journal(folder, lambda: keyring, **how)  # type: ignore[arg-type]
    try:
        yield journal
    finally:
        await journal.close()


def read(journal: Journal, keyring: Keyring, since: Progress = BEGINNING, most: int = 1000) -> list[Event]:
    """All that stands in the files, read as another process does."""
    return JournalReader(journal.folder, lambda: keyring).read(since, most)[0]


@pytest.mark.parametrize("synced", [True, False])
async def test_what_is_kept_can_be_read(folder: Path, keyring: Keyring, synced: bool) -> None:
    events: list[Event] = [
        Admitted(1.5, "v1", "http", "pbx-1", "1.17", "+15550100", "C-1001", "organizer:alicia", "004127"),
        Joined(2.5, "pbx-1", "1.17"),
        Refused(3.5, "C-1001", "unknown_pin", 3),
        left(4),
    ]
    async with opened(folder, keyring, synced=synced) as journal:
        for event in events:
            journal.append(event)
        await journal.kept()
        assert read(journal, keyring) == events


async def test_what_nobody_waited_for_is_on_the_disk_a_moment_later(
    folder: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    async with opened(folder, keyring, synced=False) as journal:
        for number in range(10):
            journal.append(left(number))
            await journal.kept()
        assert read(journal, keyring) == [left(number) for number in range(10)]
        # The folder, for the new file in it, and the file once for all ten.
        await until(lambda: len(synced) == 2)
    assert len(synced) == 3


async def test_many_events_share_one_write(folder: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while the disk is busy is written together afterwards."""
    free = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _: free.wait(10))
    async with opened(folder, keyring) as journal:
        written: list[int] = []
        journal.news = lambda: written.append(1)
        kept = []
        for number in range(100):
            journal.append(left(number))
            kept.append(asyncio.ensure_future(journal.kept()))
            await asyncio.sleep(0)
        free.set()
        await asyncio.gather(*kept)
        assert read(journal, keyring) == [left(number) for number in range(100)]
        assert len(written) == 2


async def test_answers_leave_in_their_order(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as journal:
        told: list[int] = []
        for number in range(5):
            journal.append(left(number))
            journal.when_kept(lambda number=number: told.append(number))  # type: ignore[misc]
        journal.when_kept(lambda: told.append(5))
        await journal.kept()
        assert told == [0, 1, 2, 3, 4, 5]


async def test_who_waits_for_nothing_does_not_wait(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as journal:
        told: list[int] = []
        journal.when_kept(lambda: told.append(1))
        assert told == [1]


async def test_nothing_in_the_files_can_be_read_without_the_key(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as journal:
        journal.append(Admitted(1.0, "v1", "http", "pbx-1", "1.17", "+15550100", "C-1001"))
        await journal.kept()
        text = b"".join(file.read_bytes() for file in journal.folder.iterdir())
        assert b"5550100" not in text
        assert b"C-1001" not in text
        assert all(file.stat().st_mode & 0o077 == 0 for file in journal.folder.iterdir())
        with pytest.raises(KeyFileError):
            read(journal, Keyring.create(folder.parent / "other.key"))


async def test_a_restart_goes_on_in_the_next_segment(folder: Path, keyring: Keyring) -> None:
    for number in range(3):
        async with opened(folder, keyring) as journal:
            journal.append(left(number))
            await journal.kept()
            assert read(journal, keyring) == [left(before) for before in range(number + 1)]
            assert segments(journal.folder) == list(range(1, number + 2))


async def test_what_a_crash_cut_off_hides_nothing_behind_it(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as journal:
        for number in range(2):
            journal.append(left(number))
            await journal.kept()
        file = segment_file(journal.folder, 1)
    whole = file.read_bytes()
    first = JournalReader(file.parent, lambda: keyring).read(BEGINNING, 1)[1].offset
    async with opened(folder, keyring) as journal:
        journal.append(left(2))
        await journal.kept()
        for length in range(first, len(whole)):
            file.write_bytes(whole[:length])
            with structlog.testing.capture_logs() as logged:
                assert read(journal, keyring) == [left(0), left(2)]
            assert [line["event"] for line in logged] == ["journal_cut_off"] * (length > first)


async def test_a_record_that_is_still_being_written_is_waited_for(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as journal:
        for number in range(2):
            journal.append(left(number))
            await journal.kept()
        file = segment_file(journal.folder, 1)
        reader = JournalReader(journal.folder, lambda: keyring)
        whole = file.read_bytes()
        _, place = reader.read(BEGINNING, 1)
        file.write_bytes(whole[:-1])
        assert reader.read(place, 10) == ([], place)
        file.write_bytes(whole)
        assert reader.read(place, 10)[0] == [left(1)]


async def test_tampering_is_seen(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as journal:
        journal.append(left(0))
        await journal.kept()
        file = segment_file(journal.folder, 1)
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert read(journal, keyring) == []


async def test_segments_are_followed_and_forgotten(
    folder: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_SEGMENT_SIZE", 200)
    async with opened(folder, keyring) as journal:
        for number in range(20):
            journal.append(left(number))
            await journal.kept()
        assert len(segments(journal.folder)) > 3
        reader = JournalReader(journal.folder, lambda: keyring)
        events: list[Event] = []
        place = BEGINNING
        while True:
            some, following = reader.read(place, 3)
            if following == place:
                break
            events += some
            place = following
            reader.forget(place)
        assert events == [left(number) for number in range(20)]
        assert len(segments(journal.folder)) == 1


async def test_a_journal_whose_segments_are_gone_is_another(folder: Path, keyring: Keyring) -> None:
    """As its places are counted anew, and the database knows how far the old one had come."""
    async with opened(folder, keyring) as journal:
        journal.append(left(0))
        await journal.kept()
        before = JournalReader(journal.folder, lambda: keyring).id
        segment_file(journal.folder, 1).unlink()
    async with opened(folder, keyring) as journal:
        assert JournalReader(journal.folder, lambda: keyring).id != before


async def test_each_daemon_of_a_machine_has_a_journal_of_its_own(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as one, opened(folder, keyring) as other:
        assert (one.folder, other.folder) == (folder / "0", folder / "1")
    async with opened(folder, keyring) as again:
        assert again.folder == folder / "0"


async def test_a_folder_that_cannot_be_used_is_told(folder: Path, keyring: Keyring) -> None:
    folder.write_text("")
    with pytest.raises(JournalError, match=r"journal: cannot be used as roll\.journal"):
        Journal(folder, lambda: keyring)


class Disk:
    """Stands in for the operating system's disk; `error` is what it answers to a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.cut_at: int | None = None
        self.stuck: asyncio.Event | None = None
        self._write, self._sync = os.write, os.fdatasync
        monkeypatch.setattr(os, "write", self.write)

    def write(self, file: int, data: bytes) -> int:
        if self.error is None:
            return self._write(file, data)
        if self.cut_at is not None:
            cut, self.cut_at = self.cut_at, None
            return self._write(file, data[:cut])
        raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_nobody_waits_for_a_full_disk_and_nothing_is_lost_when_it_has_room_again(
    folder: Path, keyring: Keyring, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_AGAIN", 0.01)
    lost: list[int] = []
    async with opened(folder, keyring, dropped=lost.append) as journal:
        journal.append(left(0))
        await journal.kept()
        disk.error, disk.cut_at = errno.ENOSPC, 5
        with structlog.testing.capture_logs() as logged:
            for number in range(1, 4):
                journal.append(left(number))
                await journal.kept()
            assert journal.waiting == 3
            disk.error = None
            await until(lambda: len(logged) == 2)
        assert read(journal, keyring) == [left(number) for number in range(4)]
        assert [line["event"] for line in logged] == ["journal_not_written", "journal_written_again"]
        assert lost == []


async def test_what_is_too_much_for_the_memory_is_dropped_and_counted(
    folder: Path, keyring: Keyring, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MOST_WAITING", 5)
    monkeypatch.setattr(journals, "_AGAIN", 60.0)
    lost: list[int] = []
    async with opened(folder, keyring, dropped=lost.append) as journal:
        disk.error = errno.ENOSPC
        for number in range(8):
            journal.append(left(number))
            await journal.kept()
        assert sum(lost) == 3
        disk.error = None
    assert read(journal, keyring) == [left(number) for number in range(5)]


async def test_a_sync_that_fails_is_not_taken_for_done(
    folder: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands behind it stands in the next segment."""
    monkeypatch.setattr(journals, "_AGAIN", 0.01)
    fails = [True]

    def sync(file: int) -> None:
        if fails.pop() if fails else False:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", sync)
    async with opened(folder, keyring) as journal:
        journal.append(left(0))
        await journal.kept()
        await until(lambda: bool(read(journal, keyring)) and not journal.waiting)
        await until(lambda: len(segments(journal.folder)) == 2)
        assert segments(journal.folder) == [1, 2]
        # It may stand twice; the database takes it once.
        assert set(read(journal, keyring)) == {left(0)}


async def test_a_disk_that_does_not_answer_holds_up_nobody_for_long(
    folder: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(journals, "_PATIENCE", 0.05)
    monkeypatch.setattr(os, "fdatasync", lambda _: answers.wait(10))
    async with opened(folder, keyring) as journal:
        with structlog.testing.capture_logs() as logged:
            journal.append(left(0))
            async with asyncio.timeout(5):
                await journal.kept()
            # Who comes now does not wait at all.
            told: list[int] = []
            journal.append(left(1))
            journal.when_kept(lambda: told.append(1))
            assert told == [1]
        assert [line["event"] for line in logged] == ["journal_not_written"]
        answers.set()
        await until(lambda: read(journal, keyring) == [left(0), left(1)])


async def test_a_journal_is_full_when_the_database_has_taken_nothing_for_too_long(
    folder: Path, keyring: Keyring
) -> None:
    async with opened(folder, keyring, limit=300) as journal:
        with structlog.testing.capture_logs() as logged:
            for number in range(10):
                journal.append(left(number))
                await journal.kept()
        assert [line["problem"] for line in logged] == [
            "the journal is full: the database has not taken its events for too long"
        ]
        assert journal.waiting > 0
        JournalReader(journal.folder, lambda: keyring).forget(Progress(2, 0))


async def test_a_rotation_of_the_key_hides_nothing_and_is_followed(folder: Path, keyring: Keyring) -> None:
    """What was sealed before can be read by who had the key; what comes after, by who reads the file now."""
    keys = FollowedKeys(keyring)
    journal = Journal(folder, keys)
    reader = JournalReader(journal.folder, FollowedKeys(keyring))
    journal.append(left(0))
    await journal.kept()
    keyring.with_new_key().without(keyring.key_ids)
    journal.append(left(1))
    await journal.kept()
    await journal.close()
    assert reader.read(BEGINNING, 10)[0] == [left(0), left(1)]
    rotated = Keyring.load(keyring.path)
    assert rotated.key_ids.isdisjoint(keyring.key_ids)
    first = reader.read(BEGINNING, 1)[1]
    assert JournalReader(journal.folder, lambda: rotated).read(first, 10)[0] == [left(1)]


async def test_a_key_file_that_cannot_be_read_changes_nothing(keyring: Keyring) -> None:
    keys = FollowedKeys(keyring)
    keyring.path.write_text("no keys")
    assert keys().key_ids == keyring.key_ids
    keyring.path.unlink()
    assert keys().key_ids == keyring.key_ids


async def test_what_was_left_behind_is_read_where_it_can_be(folder: Path, keyring: Keyring) -> None:
    """The newest of it, whatever keys are gone and whatever the keeper deletes meanwhile."""
    for number in range(4):
        async with opened(folder, keyring) as journal:
            journal.append(left(number))
            await journal.kept()
    own = folder / "0"
    other = Keyring.create(folder.parent / "other.key")
    journal_id = JournalReader(own, lambda: keyring).id
    segment_file(own, 2).write_bytes(record([left(9)], other, journal_id, Progress(2, 0)))
    reader = JournalReader(own, lambda: keyring)
    assert reader.left_behind(100) == [left(0), left(2), left(3)]
    assert reader.left_behind(2) == [left(2), left(3)]


async def test_zeros_that_a_crash_has_left_are_no_record(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring) as journal:
        journal.append(left(0))
        await journal.kept()
    with segment_file(folder / "0", 1).open("ab") as file:
        file.write(bytes(4096))
    async with opened(folder, keyring) as journal:
        journal.append(left(1))
        await journal.kept()
        assert read(journal, keyring) == [left(0), left(1)]


@pytest.mark.parametrize("synced", [True, False])
async def test_what_nobody_waits_for_is_written_soon(folder: Path, keyring: Keyring, synced: bool) -> None:
    """As when a caller hangs up in the moment in which he is accepted."""
    async with opened(folder, keyring, synced=synced) as journal:
        journal.append(left(0))
        await until(lambda: read(journal, keyring) == [left(0)])


async def test_a_small_journal_goes_on_once_the_database_has_taken_all(folder: Path, keyring: Keyring) -> None:
    async with opened(folder, keyring, limit=2000) as journal:
        reader = JournalReader(journal.folder, lambda: keyring)
        events: list[Event] = []
        place = BEGINNING
        for number in range(100):
            journal.append(left(number))
            await journal.kept()
            some, place = reader.read(place, 100)
            events += some
            reader.forget(place)
        assert events == [left(number) for number in range(100)]
        assert bytes_used(journal.folder) < 2000


async def test_what_has_waited_for_long_is_not_written_all_at_once(
    folder: Path, keyring: Keyring, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record goes into the database as one transaction, which others wait for."""
    monkeypatch.setattr(journals, "_TOGETHER", 10)
    monkeypatch.setattr(journals, "_AGAIN", 0.01)
    async with opened(folder, keyring) as journal:
        disk.error = errno.ENOSPC
        for number in range(35):
            journal.append(left(number))
            await journal.kept()
        disk.error = None
        await until(lambda: journal.problem is None)
        journal.append(left(35))
        await journal.kept()
        assert read(journal, keyring) == [left(number) for number in range(36)]
        assert len(read(journal, keyring, most=1)) <= 10
        disk.error = errno.ENOSPC
        for number in range(36, 80):
            journal.append(left(number))
            await journal.kept()
        disk.error = None
    assert read(journal, keyring) == [left(number) for number in range(80)]


@pytest.mark.parametrize("synced", [True, False])
async def test_callers_are_let_in_whatever_keeps_events_from_being_written(
    folder: Path, keyring: Keyring, synced: bool
) -> None:
    rings: list[Keyring] = []
    journal = Journal(folder, lambda: rings[0], synced=synced)
    journal.append(left(0))
    async with asyncio.timeout(1):
        await journal.kept()
    rings.append(keyring)
    await journal.close()
    assert read(journal, keyring) == [left(0)]


async def test_what_cannot_be_taken_back_is_left_behind(
    folder: Path, keyring: Keyring, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(folder, keyring) as journal:
        journal.append(left(0))
        await journal.kept()
        disk.error, disk.cut_at = errno.EIO, 5
        with monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only")))
            journal.append(left(1))
            await journal.kept()
        disk.error = None
    assert read(journal, keyring) == [left(0), left(1)]


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("all_of_it", [True, False])
async def test_events_do_not_go_where_nobody_reads_them(
    folder: Path, keyring: Keyring, synced: bool, all_of_it: bool
) -> None:
    """Who deletes the journal loses what was in it, and nothing more."""
    async with opened(folder, keyring, synced=synced) as journal:
        reader = JournalReader(journal.folder, lambda: keyring)
        journal.append(left(0))
        await journal.kept()
        _, place = reader.read(BEGINNING, 1)
        if all_of_it:
            shutil.rmtree(folder)
        else:
            segment_file(journal.folder, 1).unlink()
        journal.append(left(1))
        await journal.kept()
        assert reader.read(place, 10)[0] == [left(1)]
        assert JournalReader(journal.folder, lambda: keyring).id == reader.id


async def test_a_length_that_is_damaged_makes_no_room_for_what_is_not_there(
    folder: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(folder, keyring) as journal:
        journal.append(left(0))
        await journal.kept()
        segment_file(journal.folder, 2).write_bytes(b"\xff\xff\xff\x3f" + keyring.current.encode() + bytes(100))
        tracemalloc.start()
        try:
            assert read(journal, keyring) == [left(0)]
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


async def test_files_that_are_no_segments_are_left_alone(folder: Path, keyring: Keyring) -> None:
    """Digits of other scripts are digits to Python."""
    async with opened(folder, keyring) as journal:
        for name in ("\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT ONE}" * 8, "1", "x"):
            (journal.folder / f"{name}.journal").write_bytes(b"")
        journal.append(left(0))
        await journal.kept()
        assert segments(journal.folder) == [1]
        assert read(journal, keyring) == [left(0)]


@pytest.mark.parametrize("damaged", [b"", bytes(32), b"\xff" * 32])
async def test_a_journal_whose_identity_is_damaged_is_told(folder: Path, keyring: Keyring, damaged: bytes) -> None:
    """A new one would not open what was sealed under the old one."""
    async with opened(folder, keyring) as journal:
        journal.append(left(0))
        await journal.kept()
    (journal.folder / "id").write_bytes(damaged)
    with pytest.raises(JournalError, match="id is damaged"):
        Journal(folder, lambda: keyring)
