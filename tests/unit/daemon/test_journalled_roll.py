"""The roll as the daemon keeps it, on its way into the journal."""

from pathlib import Path

from daemon.journal import Journal
from daemon.journalled_roll import JournalledRoll
from loader.index import Decision, Question
from loader.journal_files import JournalReader
from loader.keyring import Keyring
from loader.model import Conference, Passcode
from loader.roll import Admitted, Event, Joined, Left, Locked
from loader.store.rolls import BEGINNING

CONFERENCE = Conference("C-1001", "Weekly call", Passcode("7784321"), "Alicia", pin_entry=False, owners=())


async def test_a_call_whose_id_no_database_could_hold_stands_on_the_roll(tmp_path: Path, keyring: Keyring) -> None:
    """As some gateways end what they say with a NUL, and one event that is never taken holds up all others."""
    asked: list[str] = []

    async def known(_source: str, call_id: str) -> bool:
        asked.append(call_id)
        return False

    journal = Journal(tmp_path / "journal", lambda: keyring)
    roll = JournalledRoll(journal, known)
    roll.admitted("radius", "radius", Question("7784321", "", "17\0", "\0"), "v1", Decision(None, CONFERENCE))
    roll.joined("radius", "17\0")
    roll.left("radius", "17\0")
    assert await roll.knows("radius", "17\0")
    assert not await roll.knows("radius", "18\0")
    await roll.kept()
    await journal.close()
    events = JournalReader(journal.folder, lambda: keyring).read(BEGINNING, 10)[0]
    assert [type(event) for event in events] == [Admitted, Joined, Left]
    assert {event.call_id for event in events if isinstance(event, Admitted | Joined | Left)} == {"17\ufffd"}
    assert asked == ["18\ufffd"]


def locked(number: int, at: float = 0.0, kind: str = "caller") -> Locked:
    return Locked(at, at + 60, f"{number:016x}", kind, 3, "C-1001", "+15550100", "pbx-1")


async def unknown(_source: str, _call_id: str) -> bool:
    return False


async def written(journal: Journal, keyring: Keyring) -> list[Event]:
    await journal.close()
    return JournalReader(journal.folder, lambda: keyring).read(BEGINNING, 10_000)[0]


async def test_what_was_locked_is_written_soon_and_nobody_waits_for_it(tmp_path: Path, keyring: Keyring) -> None:
    """The last of each key, as a wait that has doubled is the same lock; and all that is left at the end."""
    journal = Journal(tmp_path / "journal", lambda: keyring)
    roll = JournalledRoll(journal, unknown)
    for event in (locked(1), locked(2), locked(1, at=1.0)):
        roll.locked(event)
    kept = []
    roll.when_kept(lambda: kept.append(True))
    assert kept, "there was nothing to wait for"
    roll.flush()
    roll.locked(locked(1, at=2.0))
    roll.flush()
    assert await written(journal, keyring) == [locked(1, at=1.0), locked(2), locked(1, at=2.0)]


async def test_the_locks_of_an_attack_from_very_many_numbers_do_not_fill_the_journal(
    tmp_path: Path, keyring: Keyring
) -> None:
    """What is known to be locked is told all the same, and so is every conference."""
    journal = Journal(tmp_path / "journal", lambda: keyring)
    roll = JournalledRoll(journal, unknown)
    for number in range(2000):
        roll.locked(locked(number))
    roll.locked(locked(1, at=1.0))
    roll.locked(locked(5000, kind="conference"))
    roll.flush()
    events = await written(journal, keyring)
    assert len(events) == 501
    assert locked(1, at=1.0) in events
    assert locked(5000, kind="conference") in events
