"""Datagrams: what comes together is answered together, once all of it is kept."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from daemon.doors.datagrams import Address, answer_some


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        yield bound


@pytest.fixture
def client(bound: socket.socket) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.connect(bound.getsockname())
        client.setblocking(False)
        yield client


def but_not_two(datagram: bytes, _address: Address) -> bytes | None:
    return None if datagram == b"2" else datagram * 2


def received(client: socket.socket) -> list[bytes]:
    """All that has come."""
    came = []
    while True:
        try:
            came.append(client.recv(100))
        except BlockingIOError:
            return came


def test_what_came_together_waits_together_and_leaves_in_order(bound: socket.socket, client: socket.socket) -> None:
    waiting: list[Callable[[], None]] = []
    for number in range(5):
        client.send(b"%d" % number)
    assert not answer_some(bound, but_not_two, waiting.append)
    assert len(waiting) == 1
    assert not received(client)
    waiting[0]()
    assert received(client) == [b"00", b"11", b"33", b"44"]


def test_where_nothing_is_answered_nothing_waits(bound: socket.socket, client: socket.socket) -> None:
    waiting: list[Callable[[], None]] = []
    client.send(b"2")
    assert not answer_some(bound, but_not_two, waiting.append)
    assert not waiting


def test_others_have_their_turn_while_very_many_come(bound: socket.socket, client: socket.socket) -> None:
    for _ in range(100):
        client.send(b"1")
    turns = 1
    while answer_some(bound, but_not_two, lambda then: then()):
        turns += 1
    assert turns == 2
    assert len(received(client)) == 100
