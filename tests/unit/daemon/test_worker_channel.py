"""Words between processes: whole, in order, with their files, however long they are and however slowly they are heard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from daemon.worker_channel import Channel, pair


class Word(msgspec.Struct, array_like=True):
    number: int
    said: bytes = b""


class Ear:
    """Hears what one end is told."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.files: list[int] = []
        self.is_over = False

    def hear(self, word: Word, files: list[int]) -> None:
        self.words.append(word)
        self.files += files

    def gone(self) -> None:
        self.is_over = True


def connected() -> tuple[Channel[Word], Channel[Word], Ear]:
    ear = Ear()
    decoder = msgspec.msgpack.Decoder(Word)
    ends = pair()
    one = Channel(ends[0], decoder, lambda _word, _files: None, lambda: None)
    return one, Channel(ends[1], decoder, ear.hear, ear.gone), ear


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.005)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_words_come_in_order_however_many_and_long_they_are() -> None:
    """More than the sockets hold, before anything is heard; the longest goes by a file."""
    one, other, ear = connected()
    before = open_files()
    words = [Word(number, bytes([number % 256]) * (number % 7 * 11_000)) for number in range(300)]
    words.append(Word(300, b"x" * 5_000_000))
    words.append(Word(301))
    for word in words:
        one.say(word)
    await until(lambda: len(ear.words) == len(words))
    assert ear.words == words
    assert ear.files == []
    assert open_files() == before
    one.close()
    other.close()


async def test_files_go_with_their_word_also_when_it_has_to_wait() -> None:
    one, other, ear = connected()
    for number in range(100):
        reading, writing = os.pipe()
        os.write(writing, bytes([number]))
        os.close(writing)
        one.say(Word(number, b"x" * 30_000), [reading])
        os.close(reading)
    await until(lambda: len(ear.words) == 100)
    assert [os.read(file, 2) for file in ear.files] == [bytes([number]) for number in range(100)]
    assert not any(os.get_inheritable(file) for file in ear.files)
    for file in ear.files:
        os.close(file)
    one.close()
    other.close()


async def test_the_end_of_the_other_side_is_told_once_what_it_said_is_heard() -> None:
    one, _other, ear = connected()
    one.say(Word(1))
    one.close()
    one.say(Word(2))
    await until(lambda: ear.is_over)
    assert ear.words == [Word(1)]


async def test_to_speak_to_who_is_gone_raises_nothing() -> None:
    one, other, _ = connected()
    other.close()
    for number in range(10):
        one.say(Word(number, b"x" * 100_000))
    await until(lambda: True)
    one.close()
