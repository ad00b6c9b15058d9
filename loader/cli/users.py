"""Who signs in on the web: `user link`."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Final

from loader.cli.exits import DONE
from loader.cli.terminal import complain, say
from loader.errors import NotFound
from loader.settings import Settings
from loader.store import People, open_store
from loader.tokens import new_word, word_hash

LINK_GOOD_FOR: Final = 3600.0
"""Seconds."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    asyncio.run(_link(settings, args.name))
    return DONE


async def _link(settings: Settings, name: str) -> None:
    word = new_word()
    async with open_store(settings.database.url) as store:
        people = People(store)
        user = await people.user(name)
        if user is None:
            raise NotFound(f"there is no user {name}")
        await people.put_link(word_hash(word), user.id, time.time() + LINK_GOOD_FOR)
    complain(f"whoever opens this link within an hour sets the password of {name}; it works once")
    say(f"{settings.admin.address}/password/new/{word}")
