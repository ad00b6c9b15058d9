"""Looking into an installation: `lookup` and `status`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from loader.cli.exits import DONE, WrongCallError
from loader.cli.terminal import fields, moment, say, table
from loader.compiled import Block
from loader.errors import BlockError
from loader.index import MAX_KEYED, Decision, Index, Question, Step, decide, explain
from loader.keyring import Keyring
from loader.model import Conference, DaemonState, Owner
from loader.publish import read_list
from loader.settings import Settings
from loader.store import Store, open_store
from loader.store.lockouts import Lockouts

_SILENT_AFTER: Final = 60.0
"""Seconds without a word from a daemon after which it is told as silent."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    if args.command == "lookup":
        asyncio.run(_look_up(settings, _question(args)))
    else:
        asyncio.run(_status(settings, as_json=args.format == "json"))
    return DONE


def _question(args: argparse.Namespace) -> Question:
    pin: str = args.pin
    if pin == "-":
        pin = getpass.getpass("PIN: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if len(args.passcode) > MAX_KEYED or len(pin) > MAX_KEYED:
        raise WrongCallError(f"a switch may send at most {MAX_KEYED} characters")
    return Question(args.passcode, pin)


async def _look_up(settings: Settings, question: Question) -> None:
    async with open_store(settings.database.url, writable=False) as store:
        conference = await store.conference(question.passcode)
        lists: dict[Owner, Block] = {}
        damaged: dict[Owner, str] = {}
        if conference is not None:
            keyring = Keyring.load(Path(settings.key.file))
            for owner in conference.owners:
                try:
                    block = await read_list(store, keyring, owner)
                except BlockError as error:
                    damaged[owner] = str(error)
                    continue
                if block is not None:
                    lists[owner] = block
    index = Index({} if conference is None else {conference.passcode: conference}, lists)
    _tell_decision(decide(index, question))
    if conference is None:
        return
    _tell_conference(conference)
    for step in explain(index, conference, question.pin):
        say(f"  {step.owner}: {damaged.get(step.owner) or _told(step)}")
    if not conference.pin_entry:
        say("  the lists are not asked, as PIN entry is off")


def _tell_decision(decision: Decision) -> None:
    if decision.reason is not None:
        say(f"rejected: {decision.reason.value}")
    elif decision.participant is None or decision.level is None:
        say("accepted: without a participant")
    else:
        who = decision.participant
        by = f"by the list of the {decision.level.replace('_', ' ')}, revision {decision.revision}"
        say(f"accepted: {who.first_name} {who.last_name}, {who.company}, {who.city}, {who.state_country}; {by}")


def _tell_conference(conference: Conference) -> None:
    pin_entry = "on" if conference.pin_entry else "off"
    say(f"conference {conference.id}: {conference.title}, organizer {conference.organizer}, PIN entry {pin_entry}")


def _told(step: Step) -> str:
    return f"{step.outcome.value} (revision {step.revision}, {step.entries} entries)" if step.revision else step.outcome


async def _status(settings: Settings, *, as_json: bool) -> None:
    async with open_store(settings.database.url, writable=False) as store:
        status = await _read_status(store)
    if as_json:
        say(json.dumps(status, ensure_ascii=False))
        return
    names = ("database", "position", "locked")
    fields([*((name, status[name]) for name in names), *status["counts"].items()])
    for kind, titles in _TITLES.items():
        table(kind, titles, [tuple(row.values()) for row in status[f"{kind}s"]])


_TITLES: Final = {
    "list": ("level", "owner", "revision", "entries", "active", "bytes", "changed at", "changed by", "by way of"),
    "daemon": ("daemon", "version", "position", "state", "applied at", "seen at", "started at"),
}


async def _read_status(store: Store) -> dict[str, Any]:
    position = await store.position()
    return {
        "database": store.name,
        "position": position,
        "locked": await Lockouts(store).count(time.time()),
        "counts": await store.counts(),
        "lists": [
            {
                "level": listed.owner.level.value,
                "owner": listed.owner.id,
                "revision": listed.revision,
                "entries": listed.entries,
                "active": listed.active,
                "bytes": listed.size,
                "changed_at": moment(listed.created_at),
                "changed_by": listed.created_by,
                "source": listed.source,
            }
            async for listed in store.lists()
        ],
        "daemons": [
            {
                "id": daemon.id,
                "version": daemon.version,
                "position": daemon.position,
                "state": _state(daemon, position),
                "applied_at": moment(daemon.applied_at),
                "seen_at": moment(daemon.seen_at),
                "started_at": moment(daemon.started_at),
            }
            for daemon in await store.daemons()
        ],
    }


def _state(daemon: DaemonState, position: int) -> str:
    if abs(time.time() - daemon.seen_at) > _SILENT_AFTER:
        return "silent"
    return "up to date" if daemon.position >= position else f"behind by {position - daemon.position}"
