"""The index in memory that all processes of one daemon read."""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from loader import memory as memory_module
from loader import shared_index as module
from loader.compiled import Block, compile_list
from loader.index import Index, Question, Reason, decide
from loader.model import Conference, Entry, Level, Owner, Passcode, Pin, Revision
from loader.shared_index import Draft, IndexReader, SharedIndex, Update

ANN = Owner(Level.ORGANIZER, "ann")
CODE = Owner(Level.AUTHORIZATION_CODE, "3625046")
COMPANY = Owner(Level.COMPANY, "globaltest")
OWNERS = (ANN, CODE, COMPANY)


def conference(number: int, passcode: str, *, pin_entry: bool = True) -> Conference:
    return Conference(f"C-{number}", f"Weekly {number}", Passcode(passcode), "ann", pin_entry, OWNERS)


def listed(name: str, count: int = 3, revision: int = 1) -> Block:
    entries = [Entry(Pin(f"{at:06}"), name, "Doe", "XYZ", "", "", "Uxbridge", "UK", "") for at in range(count)]
    return Block(compile_list(entries), Revision(revision))


def all_of(steps: Iterator[None]) -> None:
    for _ in steps:
        """At once."""


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedIndex]:
    """In small segments."""
    monkeypatch.setattr(memory_module, "SEGMENT", 256 * 1024)
    shared = SharedIndex()
    yield shared
    shared.close()


def change(shared: SharedIndex, make: Callable[[Draft], None], *, anew: bool = False) -> Index:
    with shared.draft(anew=anew) as draft:
        make(draft)
        all_of(draft.pack())
        return shared.publish(draft)


def put(shared: SharedIndex, *conferences: Conference, **lists: Block) -> Index:
    owners = {"ann": ANN, "code": CODE, "company": COMPANY}

    def make(draft: Draft) -> None:
        for one in conferences:
            draft.put_conference(one)
        for name, block in lists.items():
            all_of(draft.put_list(owners[name], block))

    return change(shared, make)


def first_name(index: Index | None, pin: str = "000000", passcode: str = "1") -> str | Reason | None:
    assert index is not None
    decision = decide(index, Question(passcode, pin))
    return decision.participant.first_name if decision.participant else decision.reason


class Reader:
    """A reader in this process, with file descriptors of its own, as a socket would give them."""

    def __init__(self, shared: SharedIndex) -> None:
        self.reader = IndexReader()
        self.waiting: list[Update] = []
        self.index: Index | None = None
        self.attached = shared.attach(self.waiting.append)

    def catch_up(self, *, told: bool = True) -> None:
        for update in self.waiting:
            self.index = self.reader.apply(update.message, [os.dup(fd) for fd in update.fds])
            assert self.reader.number == update.number
            if told:
                self.attached.applied(self.reader.number)
        self.waiting.clear()


def test_what_is_published_is_found(shared: SharedIndex) -> None:
    known = conference(1, "7784321")
    index = put(shared, known, ann=listed("Ann", 2000, revision=12))
    assert shared.index is index
    assert dict(index.conferences) == {"7784321": known}
    assert list(index.conferences.values()) == [known]
    assert (list(index.lists), len(index.lists)) == ([ANN], 1)
    assert (index.lists[ANN].count, index.lists[ANN].revision) == (2000, 12)
    assert (index.conferences.get("1"), index.lists.get(CODE)) == (None, None)
    assert index.called("7784321") is index.called("7784321")
    assert first_name(index, "001999", "7784321") == "Ann"
    for unknown in ("", "\ud800", "7784321 ", "0" * 32):
        assert first_name(index, passcode=unknown) is Reason.UNKNOWN_PASSCODE
    with pytest.raises(KeyError):
        index.conferences["1"]


def test_a_conference_keeps_all_its_fields(shared: SharedIndex) -> None:
    known = Conference("C-1", "Besprechung Zoë 会議", Passcode("0" * 32), "organizer@example.com", False, (COMPANY,))
    assert put(shared, known).conferences["0" * 32] == known


def test_an_index_stays_as_it_is_until_it_is_reclaimed(shared: SharedIndex) -> None:
    before = put(shared, conference(1, "1"), ann=listed("Ann"))
    after = put(shared, ann=listed("Ben"))
    assert (first_name(before), first_name(after)) == ("Ann", "Ben")


def test_conferences_swap_their_passcodes_in_either_order(shared: SharedIndex) -> None:
    for told in ((1, 2), (2, 1)):
        before = put(shared, conference(1, "1"), conference(2, "2"))
        swapped = {1: conference(1, "2"), 2: conference(2, "1")}
        after = put(shared, *(swapped[number] for number in told))
        assert {passcode: found.id for passcode, found in before.conferences.items()} == {"1": "C-1", "2": "C-2"}
        assert {passcode: found.id for passcode, found in after.conferences.items()} == {"2": "C-1", "1": "C-2"}
        # And one after the other.
        put(shared, conference(1, "1"))
        index = put(shared, conference(2, "2"))
        assert {passcode: found.id for passcode, found in index.conferences.items()} == {"1": "C-1", "2": "C-2"}


def test_conferences_and_lists_go(shared: SharedIndex) -> None:
    put(shared, conference(1, "1"), conference(2, "2"), ann=listed("Ann"), code=listed("Ben"))

    def remove(draft: Draft) -> None:
        draft.remove_conference("C-1")
        draft.remove_conference("C-9")
        draft.remove_list(ANN)
        draft.remove_list(COMPANY)

    index = change(shared, remove)
    assert (list(index.conferences), list(index.lists)) == (["2"], [CODE])
    assert first_name(index, passcode="2") == "Ben"


def test_what_was_not_published_never_was(shared: SharedIndex) -> None:
    """And leaves no memory behind, whether it was a change or all anew."""
    index = put(shared, conference(1, "1"), ann=listed("Ann"))
    held = sum(segment.held for segment in shared._memory._segments.values())

    def fail(draft: Draft) -> None:
        draft.put_conference(conference(2, "2"))
        all_of(draft.put_list(ANN, listed("Ben", 3000)))
        all_of(draft.pack())
        raise ZeroDivisionError

    for anew in (False, True):
        with pytest.raises(ZeroDivisionError):
            change(shared, fail, anew=anew)
        all_of(shared.reclaim())
        assert shared.index is index
        assert first_name(index) == "Ann"
        assert sum(segment.held for segment in shared._memory._segments.values()) == held
    assert first_name(put(shared, code=listed("Cleo")), passcode="1") == "Ann"


def test_a_draft_is_packed_before_it_is_published(shared: SharedIndex) -> None:
    with shared.draft() as draft, pytest.raises(ValueError, match="packed"):
        shared.publish(draft)


def test_all_anew_is_nothing_of_before(shared: SharedIndex) -> None:
    put(shared, conference(1, "1"), ann=listed("Ann", 3000), code=listed("Ben"))
    segments = set(shared._memory.segments)
    index = change(shared, lambda draft: draft.put_conference(conference(2, "2")), anew=True)
    assert (list(index.conferences), list(index.lists)) == (["2"], [])
    all_of(shared.reclaim())
    assert not segments & set(shared._memory.segments)


def test_a_reader_sees_what_is_published_and_nothing_else(shared: SharedIndex) -> None:
    early = Reader(shared)
    early.catch_up()
    assert early.index is None
    put(shared, conference(1, "1"), ann=listed("Ann"))
    late = Reader(shared)
    for number in range(30):
        put(shared, ann=listed(f"Ann {number}", 1000), code=listed("Ben"))
        if number % 3 == 0:
            early.catch_up()
            assert first_name(early.index) == f"Ann {number}"
    assert late.index is None
    for reader in (early, late):
        reader.catch_up()
        assert first_name(reader.index) == "Ann 29"
        assert reader.index is not None
        assert list(reader.index.lists) in ([ANN, CODE], [CODE, ANN])


def test_what_a_reader_may_still_ask_is_kept(shared: SharedIndex) -> None:
    """Until it has told, or is gone."""
    put(shared, conference(1, "1"), ann=listed("Ann", 2000))
    reader, gone = Reader(shared), Reader(shared)
    reader.catch_up()
    put(shared, ann=listed("Ben", 2000))
    reader.catch_up(told=False)
    before = reader.index
    put(shared, ann=listed("Cleo", 2000))
    reader.catch_up(told=False)
    all_of(shared.reclaim())
    assert (first_name(before, "001000"), first_name(reader.index, "001000")) == ("Ben", "Cleo")
    reader.attached.applied(reader.reader.number)
    all_of(shared.reclaim())
    assert first_name(before, "001000") == "Ben"
    gone.attached.detach()
    all_of(shared.reclaim())
    assert before is not None
    assert before.lists.get(CODE) is None
    assert "Ben" not in str(bytes(before.lists[ANN]._data) if not _is_damaged(before) else b"")
    assert first_name(reader.index, "001000") == "Cleo"


def _is_damaged(index: Index) -> bool:
    try:
        index.lists[ANN].entry(1000)
    except Exception:  # noqa: BLE001 - what was given back is no block, in one way or another
        return True
    return False


def in_use(shared: SharedIndex) -> int:
    """Bytes that the system has given for all segments."""
    return sum(os.fstat(fd).st_blocks * 512 for fd, _ in shared._memory.segments.values())


def tidy(shared: SharedIndex) -> None:
    """As the daemon does it after each change."""
    all_of(shared.reclaim())
    if (segment := shared.sparse()) is not None:
        change(shared, lambda draft: all_of(draft.move_out_of(segment)))
        all_of(shared.reclaim())


def test_memory_stays_bounded_however_often_lists_are_replaced(shared: SharedIndex) -> None:
    """Many small lists beside some that change again and again: what is wasted is a fraction."""
    owners = [Owner(Level.ORGANIZER, f"o{number}") for number in range(300)]

    def fill(draft: Draft) -> None:
        draft.put_conference(conference(1, "1"))
        for owner in owners:
            all_of(draft.put_list(owner, listed("Ann", 100)))

    reader = Reader(shared)
    index = change(shared, fill)
    size = sum(block.size for block in index.lists.values())
    most = 0
    for number in range(600):
        some = owners[number * 7 % 300], owners[number % 20]

        def replace(draft: Draft, some: tuple[Owner, ...] = some, number: int = number) -> None:
            for owner in some:
                all_of(draft.put_list(owner, listed(f"Ben {number}", 90 + number % 20, revision=number)))

        index = change(shared, replace)
        reader.catch_up()
        tidy(shared)
        reader.catch_up()
        most = max(most, in_use(shared))
    assert size > 500_000
    assert most < 2 * size
    assert len(shared._memory.segments) < 20
    assert reader.index is not None
    assert len(index.lists) == len(reader.index.lists) == 300
    for known in (index, reader.index):
        assert all(known.lists[owner].entry(7).pin == "000007" for owner in owners)
        assert known.lists[owners[599 % 20]].revision == 599
    assert first_name(reader.index) is Reason.UNKNOWN_PIN
    before = len(list(Path("/proc/self/fd").iterdir()))
    del reader, known
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) < before


def test_a_state_of_very_many_segments_comes_in_several_updates(
    shared: SharedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel passes only so many file descriptors at once."""
    monkeypatch.setattr(module, "MAX_FDS", 2)
    put(shared, conference(1, "1"), ann=listed("Ann", 20_000), code=listed("Ben", 9000), company=listed("Cleo", 9000))
    assert len(shared._memory.segments) > 3
    reader = Reader(shared)
    assert [len(update.fds) for update in reader.waiting] == [2] * (len(reader.waiting) - 1) + [
        len(reader.waiting[-1].fds)
    ]
    first = reader.waiting.pop(0)
    rest = reader.waiting[:]
    reader.waiting[:] = [first]
    reader.catch_up()
    assert reader.index is None
    reader.waiting[:] = rest
    reader.catch_up()
    assert first_name(reader.index, "019999") == "Ann"


# In another process


def _answer(channel: socket.socket, said: Connection) -> None:
    """What a worker does: takes updates from a socket, and tells what it found and which number it has."""
    reader = IndexReader()
    while True:
        message, fds, _, _ = socket.recv_fds(channel, 65536, 250)
        if not message:
            break
        index = reader.apply(message, fds)
        said.send((reader.number, None if index is None else first_name(index, "001000")))


def test_a_worker_reads_what_the_main_process_writes(shared: SharedIndex) -> None:
    """Forked before anything is there, or while there is something: by the same messages."""
    fork = multiprocessing.get_context("fork")

    def start() -> tuple[Connection, socket.socket, Callable[[], None]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        heard, said = fork.Pipe(duplex=False)

        def work() -> None:
            ours.close()
            _answer(theirs, said)

        process = fork.Process(target=work)
        process.start()
        theirs.close()

        def end() -> None:
            # A worker that was forked later has it open too.
            ours.shutdown(socket.SHUT_RDWR)
            ours.close()
            process.join(10)
            assert process.exitcode == 0
            heard.close()
            said.close()

        return heard, ours, end

    def attach(ours: socket.socket) -> Callable[[int], None]:
        def send(update: Update) -> None:
            socket.send_fds(ours, [update.message], update.fds)

        return shared.attach(send).applied

    early, ours, end_early = start()
    applied_early = attach(ours)
    assert early.recv() == (0, None)
    put(shared, conference(1, "1"), ann=listed("Ann", 2000))
    assert early.recv() == (1, "Ann")
    applied_early(1)
    late, ours, end_late = start()
    applied_late = attach(ours)
    assert late.recv() == (1, "Ann")
    for number in range(2, 40):
        put(shared, ann=listed(f"Ben {number}", 2000))
        for told, applied in ((early, applied_early), (late, applied_late)):
            assert told.recv() == (number, f"Ben {number}")
            applied(number)
        all_of(shared.reclaim())
    end_early()
    end_late()
