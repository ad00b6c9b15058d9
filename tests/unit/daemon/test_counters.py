"""Counters that processes share: bounded, kept over a kill, and exact whoever counts."""

from __future__ import annotations

import fcntl
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.counters import Count, Counters, CountersBusy, Kind
from loader.keyring import Keyring

MEMORY = 1 << 20


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "rollcall.key")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "throttle"


@pytest.fixture
def counters(file: Path, keyring: Keyring) -> Iterator[Counters]:
    opened = Counters.opened(file, MEMORY, keyring)
    yield opened
    opened.close()


def test_what_was_put_is_found_until_it_is_dropped(counters: Counters) -> None:
    name = counters.name("caller")
    assert counters.look(Kind.CALLER, name) is None
    with counters.held():
        counters.put(Kind.CALLER, name, Count(2, 10.0, 40.0))
    assert counters.look(Kind.CALLER, name) == Count(2, 10.0, 40.0)
    assert counters.look(Kind.CROWD, name) is None
    assert (counters.used(Kind.CALLER), counters.used(Kind.CROWD)) == (1, 0)
    with counters.held():
        counters.drop(Kind.CALLER, name)
        counters.drop(Kind.CALLER, name)
    assert counters.look(Kind.CALLER, name) is None
    assert counters.used(Kind.CALLER) == 0


def test_counts_outlive_the_process(counters: Counters, file: Path, keyring: Keyring) -> None:
    with counters.held():
        counters.put(Kind.CALLER, counters.name("caller"), Count(2, 10.0, 40.0))
    again = Counters.opened(file, MEMORY, keyring)
    assert again.look(Kind.CALLER, again.name("caller")) == Count(2, 10.0, 40.0)
    again.close()


def test_the_file_tells_nobody_a_number_and_is_nobody_elses(counters: Counters, file: Path, keyring: Keyring) -> None:
    """Without the key file it cannot even be tried which number a name stands for: it begins anew."""
    with counters.held():
        counters.put(Kind.CALLER, counters.name("15550100"), Count(2, 10.0, 40.0))
    assert b"15550100" not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    other = Counters.opened(file, MEMORY, Keyring.create(file.with_name("other.key")))
    assert other.name("15550100") != counters.name("15550100")
    assert other.used(Kind.CALLER) == 0
    other.close()


def test_a_rotated_key_keeps_the_counts(counters: Counters, file: Path, keyring: Keyring) -> None:
    with counters.held():
        counters.put(Kind.CALLER, counters.name("caller"), Count(2, 10.0, 40.0))
    rotated = keyring.with_new_key()
    counters.seal(rotated)
    alone = rotated.without([keyring.current])
    again = Counters.opened(file, MEMORY, alone)
    assert again.look(Kind.CALLER, again.name("caller")) == Count(2, 10.0, 40.0)
    again.close()


@pytest.mark.parametrize("content", [b"", b"something else" * 1000, bytes(MEMORY + 4096)])
def test_what_is_no_file_of_counters_is_replaced(file: Path, keyring: Keyring, content: bytes) -> None:
    file.write_bytes(content)
    counters = Counters.opened(file, MEMORY, keyring)
    assert counters.used(Kind.CALLER) == 0
    assert file.stat().st_size == MEMORY + 4096
    counters.close()


@pytest.mark.parametrize("kind", Kind)
def test_however_much_comes_memory_is_bounded(counters: Counters, kind: Kind) -> None:
    names = [counters.name(str(number)) for number in range(2 * counters.places(kind))]
    with counters.held():
        for number, name in enumerate(names):
            counters.put(kind, name, Count(1, float(number), 0.0))
    found = sum(counters.look(kind, name) is not None for name in names)
    assert found == counters.used(kind)
    assert counters.used(kind) + counters.evicted(kind) == len(names)
    assert counters.used(kind) > 0.9 * counters.places(kind)
    for other in Kind:
        assert other is kind or counters.used(other) == counters.evicted(other) == 0


@pytest.mark.parametrize("kind", [Kind.CALLER, Kind.CROWD])
def test_who_is_locked_and_who_has_failed_often_is_pushed_out_last(counters: Counters, kind: Kind) -> None:
    """A flood of callers who have failed once pushes out others who have failed once."""
    locked, often = counters.name("locked"), counters.name("often")
    with counters.held():
        counters.put(kind, locked, Count(5, 0.0, 1e9))
        counters.put(kind, often, Count(4, 0.0, 0.0))
        for number in range(4 * counters.places(kind)):
            counters.put(kind, counters.name(f"flood {number}"), Count(1, 10.0, 0.0))
    assert counters.look(kind, locked) == Count(5, 0.0, 1e9)
    assert counters.look(kind, often) == Count(4, 0.0, 0.0)


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.KNOWN])
def test_of_calls_and_known_callers_the_oldest_give_way(counters: Counters, kind: Kind) -> None:
    old, new = counters.name("old"), counters.name("new")
    with counters.held():
        counters.put(kind, old, Count(9, 0.0, 0.0))
        counters.put(kind, new, Count(0, 1e9, 0.0))
        for number in range(4 * counters.places(kind)):
            counters.put(kind, counters.name(f"flood {number}"), Count(1, 10.0 + number, 0.0))
    assert counters.look(kind, old) is None
    assert counters.look(kind, new) is not None


def test_who_holds_the_counters_for_too_long_is_not_waited_for(counters: Counters, file: Path) -> None:
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CountersBusy), counters.held():
            raise AssertionError
    with counters.held():
        pass


def _count(file: Path, key_file: Path, times: int) -> None:
    counters = Counters.opened(file, MEMORY, Keyring.load(key_file))
    name = counters.name("everybody")
    done = 0
    while done < times:
        try:
            with counters.held():
                before = counters.look(Kind.CROWD, name)
                counters.put(Kind.CROWD, name, Count(1 + (before.failures if before else 0), 0.0, 0.0))
                done += 1
        except CountersBusy:
            continue
    counters.close()


def test_processes_count_exactly(counters: Counters, file: Path, keyring: Keyring) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_count, args=(file, keyring.path, 2000)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert counters.look(Kind.CROWD, counters.name("everybody")) == Count(6000, 0.0, 0.0)


def test_without_a_file_it_counts_alone() -> None:
    counters = Counters.in_memory(MEMORY)
    with counters.held():
        counters.put(Kind.CALL, counters.name("call"), Count(1, 1.0, 0.0))
    assert counters.used(Kind.CALL) == 1
    counters.close()


def test_whether_anybody_of_a_kind_is_locked_is_told_to_all_processes(
    counters: Counters, file: Path, keyring: Keyring
) -> None:
    again = Counters.opened(file, MEMORY, keyring)
    with counters.held():
        counters.put(Kind.CALLER, counters.name("early"), Count(5, 0.0, 40.0))
        counters.put(Kind.CALLER, counters.name("late"), Count(5, 0.0, 90.0))
        counters.put(Kind.CALLER, counters.name("between"), Count(5, 0.0, 60.0))
    assert [again.is_any_locked(Kind.CALLER, now) for now in (0.0, 89.0, 90.0)] == [True, True, False]
    assert not again.is_any_locked(Kind.CROWD, 0.0)
    again.close()
