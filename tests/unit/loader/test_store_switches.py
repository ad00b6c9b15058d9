"""Switches and their tokens, as the store keeps them."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

import loader.store
from loader.errors import NotFound, OverlapError
from loader.model import Kind, Switch, SwitchToken
from loader.store import Store, migrate, open_store
from loader.store.engine import connect

FIRST, SECOND, THIRD = (number.to_bytes(32) for number in (1, 2, 3))


@pytest.fixture
async def known(store: Store) -> Store:
    """One that knows a switch, and another that nothing may happen to."""
    await store.add_switch(Switch.new("pbx-1", FIRST, 10.0, ("192.0.2.7", "2001:db8::/32"), 50))
    await store.add_switch(Switch.new("pbx-2", bytes(32), 20.0))
    return store


async def tokens(store: Store) -> list[tuple[bytes, float | None]]:
    """The tokens of the switch, each with its end."""
    assert (await store.switch("pbx-2")).tokens == (SwitchToken(bytes(32), 20.0),)
    return [(token.hash, token.expires_at) for token in (await store.switch("pbx-1")).tokens]


async def rotate(store: Store, token_hash: bytes, now: float, overlap: float) -> None:
    async with store.writing() as writing:
        await writing.rotate_token("pbx-1", token_hash, now, overlap)


async def test_a_switch_is_kept_as_it_was_added(known: Store) -> None:
    expected = Switch("pbx-1", 10.0, (SwitchToken(FIRST, 10.0),), ("192.0.2.7", "2001:db8::/32"), 50)
    assert await known.switches() == [expected, Switch.new("pbx-2", bytes(32), 20.0)]
    assert await known.switch("pbx-1") == expected
    with pytest.raises(NotFound, match="there is no switch pbx-3"):
        await known.switch("pbx-3")


async def test_the_token_before_is_good_for_as_long_as_it_is_said(known: Store) -> None:
    await rotate(known, SECOND, 100.0, 60.0)
    assert await tokens(known) == [(FIRST, 160.0), (SECOND, None)]


async def test_two_tokens_of_the_same_moment_keep_their_order(known: Store) -> None:
    await rotate(known, SECOND, 10.0, 60.0)
    assert await tokens(known) == [(FIRST, 70.0), (SECOND, None)]


async def test_without_an_overlap_all_that_were_before_end_now(known: Store) -> None:
    await rotate(known, SECOND, 100.0, 60.0)
    await rotate(known, THIRD, 110.0, 0.0)
    assert await tokens(known) == [(THIRD, None)]


async def test_while_two_are_good_there_is_no_third(known: Store) -> None:
    """Nothing is changed, and it is said until when."""
    await rotate(known, SECOND, 100.0, 60.0)
    with pytest.raises(OverlapError) as raised:
        await rotate(known, THIRD, 159.9, 60.0)
    assert raised.value.until == 160.0
    assert await tokens(known) == [(FIRST, 160.0), (SECOND, None)]


async def test_what_has_expired_is_forgotten_by_the_next_rotation(known: Store) -> None:
    await rotate(known, SECOND, 100.0, 60.0)
    await rotate(known, THIRD, 160.0, 60.0)
    assert await tokens(known) == [(SECOND, 220.0), (THIRD, None)]


async def test_a_new_token_that_was_lost_is_replaced_and_the_old_one_keeps_its_end(known: Store) -> None:
    await rotate(known, SECOND, 100.0, 60.0)
    async with known.writing() as writing:
        await writing.replace_token("pbx-1", THIRD, 110.0)
    assert await tokens(known) == [(FIRST, 160.0), (THIRD, None)]


async def test_an_overlap_can_be_ended(known: Store) -> None:
    await rotate(known, SECOND, 100.0, 60.0)
    async with known.writing() as writing:
        await writing.end_old_tokens("pbx-1")
    assert await tokens(known) == [(SECOND, None)]


async def test_addresses_and_rate_are_changed_one_by_one(known: Store) -> None:
    async with known.writing() as writing:
        await writing.change_switch("pbx-1", networks=("198.51.100.1",))
    assert (await known.switch("pbx-1")).networks == ("198.51.100.1",)
    assert (await known.switch("pbx-1")).rate == 50
    for rate in (0, 7, None):
        async with known.writing() as writing:
            await writing.change_switch("pbx-1", rate=rate)
        assert (await known.switch("pbx-1")).rate == rate
    async with known.writing() as writing:
        await writing.change_switch("pbx-1", networks=())
    assert await known.switch("pbx-1") == Switch.new("pbx-1", FIRST, 10.0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rotate_token", {"token_hash": SECOND, "now": 100.0, "overlap": 60.0}),
        ("rotate_token", {"token_hash": SECOND, "now": 100.0, "overlap": 0.0}),
        ("replace_token", {"token_hash": SECOND, "now": 100.0}),
        ("end_old_tokens", {}),
        ("change_switch", {"rate": 1}),
        ("remove_switch", {}),
    ],
)
async def test_the_feed_tells_of_each_change_and_no_change_makes_a_switch(
    known: Store, name: str, arguments: dict[str, Any]
) -> None:
    position = await known.position()
    with pytest.raises(NotFound, match="there is no switch nobody"):
        async with known.writing() as writing:
            await getattr(writing, name)("nobody", **arguments)
    assert await known.changes_since(position) == []
    async with known.writing() as writing:
        await getattr(writing, name)("pbx-1", **arguments)
    assert [(told.kind, told.id) for told in await known.changes_since(position)] == [(Kind.SWITCH, "pbx-1")]


async def test_a_removed_switch_can_come_again(known: Store) -> None:
    """Nothing of its tokens is left."""
    await rotate(known, SECOND, 100.0, 60.0)
    await known.remove_switch("pbx-1")
    await known.add_switch(Switch.new("pbx-1", FIRST, 200.0))
    assert await tokens(known) == [(FIRST, None)]


async def test_tokens_from_before_there_were_several_go_on_working(url: str, tmp_path: Path) -> None:
    """A database as the version before left it is brought up to date, switches and all."""
    await _migrate_to(url, "0003")
    with sqlite3.connect(tmp_path / "rollcall.db") as database:
        rows = [("pbx-1", FIRST, 10.0), ("pbx-2", SECOND, 20.0)]
        database.executemany("INSERT INTO switch (id, token_hash, created_at) VALUES (?, ?, ?)", rows)
    database.close()
    assert await migrate(url) == "0003"
    async with open_store(url) as store:
        assert await store.switches() == [Switch.new(*row) for row in rows]


async def _migrate_to(url: str, version: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(loader.store.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, version)

    engine = connect(url, create=True)
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()
