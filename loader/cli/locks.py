"""Who must wait, and being unlocked: `locked` and `unlock`."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from loader.cli.exits import DONE, WrongCallError
from loader.cli.terminal import moment, say, system_user, table
from loader.errors import NotFound
from loader.forget import plain_number
from loader.keyring import Keyring
from loader.model import AuditEntry
from loader.settings import Settings
from loader.store import Desk, open_store
from loader.store.lockouts import CALLER, CONFERENCE, SWITCH, Lockout, Lockouts

_TITLES: Final = ("kind", "conference", "caller", "switch", "company", "failures", "since", "until", "key")
_WAYS: Final = ("caller", "conference", "switch", "key", "all")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    if args.command == "locked":
        asyncio.run(_tell(settings, as_json=args.format == "json"))
    else:
        asyncio.run(_unlock(settings, _meant(args)))
    return DONE


async def _tell(settings: Settings, *, as_json: bool) -> None:
    async with open_store(settings.database.url, writable=False) as store:
        found = await Lockouts(store).locked(Keyring.load(Path(settings.key.file)), time.time())
    if as_json:
        say(json.dumps({"locked": [_told(one) for one in found]}, ensure_ascii=False))
        return
    rows = [{**_told(one), "caller": _caller(one), "until": _until(one) or "unlocked by somebody"} for one in found]
    table("locked", _TITLES, [tuple(row.values()) for row in rows])


def _told(one: Lockout) -> dict[str, Any]:
    values = (
        one.kind, one.conference_id, one.caller, one.switch, one.company_id or "", one.failures, moment(one.at),
        _until(one), one.id,
    )  # fmt: skip
    return dict(zip(_TITLES, values, strict=True))


def _until(one: Lockout) -> str | None:
    return None if math.isinf(one.until) else moment(one.until)


def _caller(one: Lockout) -> str:
    if one.is_damaged:
        return "cannot be read"
    return "" if one.kind != CALLER else one.caller or "withheld"


def _meant(args: argparse.Namespace) -> Callable[[Lockout], bool]:
    """Which locks are meant. Raises WrongCallError."""
    given = {way for way in _WAYS if getattr(args, way)}
    if given == {"caller", "conference"}:
        return lambda one: _is_from(one, args.caller) and one.conference_id == args.conference
    if len(given) != 1:
        raise WrongCallError("give one of --caller, --conference, --switch, --key and --all, or the first two")
    ways: dict[str, Callable[[Lockout], bool]] = {
        "caller": lambda one: _is_from(one, args.caller),
        "conference": lambda one: one.kind == CONFERENCE and one.conference_id == args.conference,
        "switch": lambda one: one.kind == SWITCH and one.switch == args.switch,
        "key": lambda one: one.id == args.key,
        "all": lambda _: True,
    }
    return ways[given.pop()]


def _is_from(one: Lockout, number: str) -> bool:
    if one.kind != CALLER or one.caller is None:
        return False
    return one.caller == number or (plain_number(one.caller) == plain_number(number) != "")


async def _unlock(settings: Settings, is_meant: Callable[[Lockout], bool]) -> None:
    async with open_store(settings.database.url) as store:
        lockouts, now = Lockouts(store), time.time()
        found = await lockouts.locked(Keyring.load(Path(settings.key.file)), now)
        meant = {one.id: one for one in found if is_meant(one)}
        unlocked = [meant[id_] for id_ in await lockouts.unlock(list(meant), by=system_user(), at=now)]
        if not unlocked:
            raise NotFound("nothing of that is locked")
        by = system_user()[:64]
        await Desk(store).record(
            *(AuditEntry(now, by, one.company_id, "", "unlocked", one.about, one.detail) for one in unlocked)
        )
    table("unlocked", _TITLES[:4], [(one.kind, one.conference_id, _caller(one), one.switch) for one in unlocked])
