"""The telephone systems that may ask: `switch add`, `switch list`, `switch remove`."""

from __future__ import annotations

import argparse
import asyncio
import time

from loader.cli.exits import DONE
from loader.cli.terminal import complain, moment, say, table
from loader.model import Switch
from loader.settings import Settings
from loader.store import open_store
from loader.tokens import new_token, token_hash


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    match args.action:
        case "add":
            asyncio.run(_add(settings, args.name))
        case "remove":
            asyncio.run(_remove(settings, args.name))
        case _:
            asyncio.run(_list(settings))
    return DONE


async def _add(settings: Settings, name: str) -> None:
    token = new_token()
    async with open_store(settings.database.url) as store:
        await store.add_switch(Switch(name, token_hash(token), time.time()))
    complain(f"the token of switch {name} follows; keep it, as it is not shown again")
    say(token)


async def _remove(settings: Settings, name: str) -> None:
    async with open_store(settings.database.url) as store:
        await store.remove_switch(name)
    say(f"switch {name}: removed, its token is refused from now on")


async def _list(settings: Settings) -> None:
    async with open_store(settings.database.url, writable=False) as store:
        switches = await store.switches()
    table("switch", ("name", "since"), [(switch.id, moment(switch.created_at)) for switch in switches])
