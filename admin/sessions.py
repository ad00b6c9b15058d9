"""Sessions on the server: the browser has a random word, the database its hash and all else.

What is in a session is encrypted under a key of the key file: people search for PINs, and sessions remember that. A
session whose key was rotated away is over.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Coroutine
from typing import Any, Final

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp_session import AbstractStorage, Session

from admin import keys
from admin.visitor import SIGNED_IN_AT, VISITOR
from loader.errors import BlockError, DatabaseUnavailable, KeyFileError
from loader.keyring import Keyring
from loader.model import Session as Stored
from loader.model import User
from loader.tokens import new_word, word_hash

log = structlog.get_logger(__name__)

_STORED: Final = web.RequestKey("stored_session", Stored)
_READ: Final = web.RequestKey("read_session", dict)
"""What was in the session when the request came."""
_TOUCHED_EVERY: Final = 60.0
"""Seconds between two notes that a session was seen."""
_NOT_AGAIN_FOR: Final = 10.0
"""Seconds in which pages that only read do not wait once more for a database that cannot be written."""


class DatabaseStorage(AbstractStorage):
    """What aiohttp-session keeps sessions in.

    With `secure` the cookie is sent over https only, and its name has the prefix `__Host-`, so that no other host
    can set it.
    """

    def __init__(self, *, secure: bool, idle_timeout: float) -> None:
        super().__init__(
            cookie_name="__Host-rollcall" if secure else "rollcall",
            max_age=None,
            path="/",
            secure=secure,
            httponly=True,
            samesite="Lax",
        )
        self._idle_timeout = idle_timeout
        self._not_before = 0.0
        """When pages that only read note again, by `time.monotonic`, what is in their sessions."""
        self._noting: set[asyncio.Future[None]] = set()

    async def load_session(self, request: web.Request) -> Session:
        """The session of the browser's word, unless it is over; a new one otherwise."""
        word = self.load_cookie(request)
        stored = await request.app[keys.PEOPLE].session(word_hash(word)) if word else None
        now = time.time()
        if stored is not None and _apart(now, stored.seen_at) > self._idle_timeout:
            await request.app[keys.PEOPLE].end_session(stored.id_hash)
            stored = None
        if stored is None:
            return Session(None, data=None, new=True, max_age=None)
        data = _opened(request.app[keys.KEYRING], stored)
        if data is None:
            return Session(None, data=None, new=True, max_age=None)
        session = Session(word, data=None, new=False, max_age=None)
        session.update(data)
        request[_READ] = data
        session._changed = _apart(now, stored.seen_at) > _TOUCHED_EVERY  # noqa: SLF001 - seen again is a change
        request[_STORED] = stored
        return session

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Keep what is in the session. One that is empty is over."""
        people = request.app[keys.PEOPLE]
        stored: Stored | None = request.get(_STORED)
        word = session.identity
        if stored is not None and (session.empty or word is None):
            # Over, or begun anew at signing in: the old word is good for nothing more.
            await people.end_session(stored.id_hash)
        if session.empty:
            self.save_cookie(response, "", max_age=0)
            return
        now = time.time()
        visitor = request.get(VISITOR)
        data: dict[str, Any] = dict(session.items())
        if word is None:
            word = new_word()
            stored = Stored(word_hash(word), None, now, now, "", "", "")
            self.save_cookie(response, word)
        if stored is None:
            return
        user_id = data.get("user")
        if visitor is not None:
            stored = msgspec.structs.replace(stored, address=visitor.address, agent=visitor.agent)
        sealed = _sealed(request.app[keys.KEYRING], stored.id_hash, data)
        stored = msgspec.structs.replace(stored, user_id=user_id, seen_at=now, data=sealed)
        if session.new or request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            await people.put_session(stored)
        elif data == request.get(_READ):
            # Only seen again: no page waits for that.
            noting = asyncio.ensure_future(self._note(people.seen(stored.id_hash, now)))
            self._noting.add(noting)
            noting.add_done_callback(self._noting.discard)
        else:
            await self._note(people.put_session(stored))

    async def noted(self, _app: web.Application) -> None:
        """Wait until all is noted, at the end."""
        await asyncio.gather(*self._noting)

    async def _note(self, writing: Coroutine[None, None, None]) -> None:
        """Note what a page that only reads leaves in its session. While the database cannot be written it goes without."""
        if time.monotonic() < self._not_before:
            writing.close()
            return
        try:
            await writing
        except DatabaseUnavailable as error:
            self._not_before = time.monotonic() + _NOT_AGAIN_FOR
            log.warning("session_not_noted", problem=str(error))


async def still_signed_in(request: web.Request) -> bool:
    """For what goes on for long: whether its visitor's session is not over, and he may what he might.

    To watch is to be there: a session does not fall idle by it.
    """
    app, stored = request.app, request.get(_STORED)
    visitor = request.get(VISITOR)
    if stored is None or visitor is None or visitor.signed_in is None:
        return False
    people, admin, now = app[keys.PEOPLE], app[keys.SETTINGS].admin, time.time()
    if _apart(now, visitor.session.get(SIGNED_IN_AT, 0.0)) >= admin.session_timeout:
        return False
    session = await people.session(stored.id_hash)
    if session is None or session.user_id != visitor.signed_in.id or _apart(now, session.seen_at) > admin.idle_timeout:
        return False
    if _apart(now, session.seen_at) > _TOUCHED_EVERY:
        await people.seen(stored.id_hash, now)
    user = await people.user(visitor.signed_in.id)
    return user is not None and _may(user) == _may(visitor.signed_in)


def _may(user: User) -> tuple[str | None, ...]:
    """What it depends on what a user may do."""
    return user.role, user.company_id, user.organizer_id, user.authorization_code


def _apart(now: float, then: float) -> float:
    """Seconds between two moments. What was noted by a clock that was set back since is as old as it is ahead."""
    return abs(now - then)


def _sealed(keyring: Keyring, id_hash: bytes, data: dict[str, Any]) -> str:
    key_id = keyring.current
    sealed = keyring.seal_secret(f"session|{id_hash.hex()}", json.dumps(data).encode(), key_id=key_id)
    return f"{key_id} {base64.b64encode(sealed).decode('ascii')}"


def _opened(keyring: Keyring, stored: Stored) -> dict[str, Any] | None:
    key_id, _, sealed = stored.data.partition(" ")
    try:
        opened = keyring.holding(key_id).open_secret(
            f"session|{stored.id_hash.hex()}", base64.b64decode(sealed), key_id=key_id
        )
    except (KeyFileError, BlockError):
        return None
    data: dict[str, Any] = json.loads(opened)
    return data
