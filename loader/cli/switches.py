"""The telephone systems that may ask, and their tokens: the commands `switch ...`."""

from __future__ import annotations

import argparse
import asyncio
import time

from msgspec import UNSET

from loader.cli.exits import DONE, WrongCallError
from loader.cli.terminal import complain, moment, say, table
from loader.errors import InvalidValue, OverlapError, RollcallError
from loader.model import Switch, SwitchToken
from loader.networks import parse_networks
from loader.settings import Settings
from loader.store import open_store
from loader.tokens import new_token, token_hash

_TITLES = ("name", "since", "token", "made", "good until", "from", "requests a second")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one of these commands; its exit status."""
    commands = {
        "add": _add,
        "set": _set,
        "rotate": _rotate,
        "end-old": _end_old,
        "remove": _remove,
        "list": _list,
    }
    asyncio.run(commands[args.action](settings, args))
    return DONE


async def _add(settings: Settings, args: argparse.Namespace) -> None:
    token, now = new_token(), time.time()
    switch = Switch.new(args.name, token_hash(token), now, _networks(args.networks), args.rate)
    async with open_store(settings.database.url) as store:
        await store.add_switch(switch)
    _show(args.name, token)


async def _set(settings: Settings, args: argparse.Namespace) -> None:
    networks = UNSET if args.networks is None else _networks(args.networks)
    if networks is UNSET and args.rate is UNSET:
        raise WrongCallError("there is nothing to set: see `rollcall switch set --help`")
    async with open_store(settings.database.url) as store:
        async with store.writing() as writing:
            await writing.change_switch(args.name, networks=networks, rate=args.rate)
        switch = await store.switch(args.name)
    say(f"switch {args.name}: may ask from {_from(switch)}; requests a second: {_rate(switch, settings)}")


async def _rotate(settings: Settings, args: argparse.Namespace) -> None:
    token, now = new_token(), time.time()
    async with open_store(settings.database.url) as store, store.writing() as writing:
        if args.again:
            await writing.replace_token(args.name, token_hash(token), now)
        else:
            try:
                await writing.rotate_token(args.name, token_hash(token), now, args.overlap)
            except OverlapError as overlap:
                raise RollcallError(
                    f"{overlap}, until {moment(overlap.until)}. If the new one was lost, --again makes it anew; "
                    f"`rollcall switch end-old {args.name}` or --overlap 0 ends the old one"
                ) from None
    if args.again:
        complain(f"switch {args.name}: the newest token is refused from now on; an older one stays good until its end")
    elif args.overlap:
        complain(f"switch {args.name}: the old token is good until {moment(now + args.overlap)}")
    else:
        complain(f"switch {args.name}: all older tokens are refused from now on")
    _show(args.name, token)


async def _end_old(settings: Settings, args: argparse.Namespace) -> None:
    async with open_store(settings.database.url) as store, store.writing() as writing:
        await writing.end_old_tokens(args.name)
    say(f"switch {args.name}: all tokens but the newest are refused from now on")


async def _remove(settings: Settings, args: argparse.Namespace) -> None:
    async with open_store(settings.database.url) as store:
        await store.remove_switch(args.name)
    say(f"switch {args.name}: removed, its tokens are refused from now on")


async def _list(settings: Settings, _args: argparse.Namespace) -> None:
    async with open_store(settings.database.url, writable=False) as store:
        switches = await store.switches()
    now = time.time()
    rows = [
        (
            switch.id,
            moment(switch.created_at),
            token.fingerprint,
            moment(token.created_at),
            _end(token, now),
            _from(switch),
            _rate(switch, settings),
        )
        for switch in switches
        for token in switch.tokens
    ]
    table("switch", _TITLES, rows)


def _show(name: str, token: str) -> None:
    complain(f"the token of switch {name} follows; keep it, as it is not shown again")
    say(token)


def _networks(names: list[str]) -> tuple[str, ...]:
    try:
        return parse_networks(names)
    except InvalidValue as error:
        raise WrongCallError(f"--from: {error}") from None


def _end(token: SwitchToken, now: float) -> str:
    if token.expires_at is None:
        return "ever"
    return moment(token.expires_at) if token.is_good(now) else f"{moment(token.expires_at)} (expired)"


def _from(switch: Switch) -> str:
    return " ".join(switch.networks) or "anywhere"


def _rate(switch: Switch, settings: Settings) -> str:
    rate = settings.daemon.switch_rate if switch.rate is None else switch.rate
    return f"{rate or 'any'}{' (default)' if switch.rate is None else ''}"
