"""The roll as the daemon keeps it, on its way into the journal."""

from pathlib import Path

from daemon.journal import Journal
from daemon.journalled_roll import JournalledRoll
from loader.index import Decision, Question
from loader.journal_files import JournalReader
from loader.keyring import Keyring
from loader.model import Conference, Passcode
from loader.roll import Admitted, Joined, Left, Refused
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
    assert {event.call_id for event in events if not isinstance(event, Refused)} == {"17\ufffd"}
    assert asked == ["18\ufffd"]
