"""Who signs in on the web: users, credentials, sessions, one-time links, and how often signing in has failed."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update

from loader.model import Credential, Role, Session, User
from loader.store import tables as t
from loader.store.store import Store


class People:
    """Every method raises DatabaseUnavailable if the database cannot be used now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # Users

    async def user(self, user_id: str) -> User | None:
        rows = await self._store.all(select(t.app_user).where(t.app_user.c.id == user_id))
        return _user(rows[0]) if rows else None

    async def users(self, company_id: str | None) -> list[User]:
        """The users of a company; the operators if it is None."""
        query = select(t.app_user).where(t.app_user.c.company_id == company_id).order_by(t.app_user.c.id)
        return [_user(row) for row in await self._store.all(query)]

    async def everybody(self) -> list[User]:
        """The users of all companies, and the operators."""
        return [_user(row) for row in await self._store.all(select(t.app_user).order_by(t.app_user.c.id))]

    async def users_with_email(self, email: str) -> list[User]:
        """Addresses are compared without regard to case."""
        query = select(t.app_user).where(func.lower(t.app_user.c.email) == email.lower())
        return [_user(row) for row in await self._store.all(query)]

    # Credentials

    async def credential(self, user_id: str) -> Credential:
        """What the user signs in with; an empty one if there is none yet."""
        rows = await self._store.all(select(t.credential).where(t.credential.c.user_id == user_id))
        return Credential(**rows[0]._mapping) if rows else Credential(user_id)  # noqa: SLF001 - SQLAlchemy's own way

    async def put_credential(self, credential: Credential) -> None:
        values = msgspec.structs.asdict(credential)
        known = t.credential.c.user_id == credential.user_id
        async with self._store.transaction() as connection:
            updated = await connection.execute(update(t.credential).where(known).values(**values))
            if updated.rowcount == 0:
                await connection.execute(insert(t.credential).values(**values))

    async def use_totp_step(self, user_id: str, step: int) -> bool:
        """Note that the code of a time step was used; False if it, or a later one, was used before."""
        known = (t.credential.c.user_id == user_id) & (t.credential.c.totp_step < step)
        async with self._store.transaction() as connection:
            updated = await connection.execute(update(t.credential).where(known).values(totp_step=step))
            return bool(updated.rowcount)

    # Sessions

    async def session(self, id_hash: bytes) -> Session | None:
        rows = await self._store.all(select(t.web_session).where(t.web_session.c.id_hash == id_hash))
        return Session(**rows[0]._mapping) if rows else None  # noqa: SLF001

    async def sessions(self, user_id: str | None = None) -> list[Session]:
        """Who is signed in, the last seen first; only this user's if one is given."""
        query = select(t.web_session).where(t.web_session.c.user_id.is_not(None))
        if user_id is not None:
            query = query.where(t.web_session.c.user_id == user_id)
        rows = await self._store.all(query.order_by(t.web_session.c.seen_at.desc()))
        return [Session(**row._mapping) for row in rows]  # noqa: SLF001

    async def put_session(self, session: Session) -> None:
        values = msgspec.structs.asdict(session)
        known = t.web_session.c.id_hash == session.id_hash
        async with self._store.transaction() as connection:
            updated = await connection.execute(update(t.web_session).where(known).values(**values))
            if updated.rowcount == 0:
                await connection.execute(insert(t.web_session).values(**values))

    async def seen(self, id_hash: bytes, at: float) -> None:
        """Note that somebody is still there. One whose session is over stays signed out."""
        async with self._store.transaction() as connection:
            await connection.execute(update(t.web_session).where(t.web_session.c.id_hash == id_hash).values(seen_at=at))

    async def end_session(self, id_hash: bytes) -> None:
        async with self._store.transaction() as connection:
            await connection.execute(delete(t.web_session).where(t.web_session.c.id_hash == id_hash))

    async def end_sessions_of(self, user_id: str) -> int:
        """Sign a user out everywhere; how many sessions there were."""
        async with self._store.transaction() as connection:
            ended = await connection.execute(delete(t.web_session).where(t.web_session.c.user_id == user_id))
            return int(ended.rowcount)

    async def forget(self, *, seen_before: float, created_before: float, now: float) -> None:
        """Forget sessions, links and failures that are over."""
        sessions = t.web_session.c
        async with self._store.transaction() as connection:
            await connection.execute(
                delete(t.web_session).where((sessions.seen_at < seen_before) | (sessions.created_at < created_before))
            )
            await connection.execute(delete(t.one_time_link).where(t.one_time_link.c.expires_at < now))
            await connection.execute(delete(t.sign_in_failure).where(t.sign_in_failure.c.last_at < now - 86400.0))

    # One-time links

    async def put_link(self, token_hash: bytes, user_id: str, expires_at: float) -> None:
        """A new link of a user; his earlier ones are no longer good."""
        async with self._store.transaction() as connection:
            await connection.execute(delete(t.one_time_link).where(t.one_time_link.c.user_id == user_id))
            await connection.execute(
                insert(t.one_time_link).values(token_hash=token_hash, user_id=user_id, expires_at=expires_at)
            )

    async def link_user(self, token_hash: bytes, now: float) -> User | None:
        """Whose link this is, if it is still good."""
        link = t.one_time_link.c
        query = select(t.app_user).join(t.one_time_link, link.user_id == t.app_user.c.id)
        rows = await self._store.all(query.where(link.token_hash == token_hash, link.expires_at >= now))
        return _user(rows[0]) if rows else None

    async def take_link(self, token_hash: bytes, now: float) -> bool:
        """Use a link up; False if it was used before or is over."""
        link = t.one_time_link.c
        async with self._store.transaction() as connection:
            taken = await connection.execute(
                delete(t.one_time_link).where(link.token_hash == token_hash, link.expires_at >= now)
            )
            return bool(taken.rowcount)

    # Failures

    async def failures(self, kind: str, failed_id: str) -> tuple[int, float]:
        """How often in a row, and when last (0.0 if never)."""
        failure = t.sign_in_failure.c
        rows = await self._store.all(
            select(failure.count.label("count_"), failure.last_at).where(failure.kind == kind, failure.id == failed_id)
        )
        return (int(rows[0].count_), float(rows[0].last_at)) if rows else (0, 0.0)

    async def failed(self, kind: str, failed_id: str, now: float) -> None:
        failure = t.sign_in_failure.c
        known = (failure.kind == kind) & (failure.id == failed_id)
        async with self._store.transaction() as connection:
            updated = await connection.execute(
                update(t.sign_in_failure).where(known).values(count=failure.count + 1, last_at=now)
            )
            if updated.rowcount == 0:
                await connection.execute(
                    insert(t.sign_in_failure).values(kind=kind, id=failed_id, count=1, last_at=now)
                )

    async def succeeded(self, kind: str, failed_id: str) -> None:
        failure = t.sign_in_failure.c
        async with self._store.transaction() as connection:
            await connection.execute(delete(t.sign_in_failure).where(failure.kind == kind, failure.id == failed_id))


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        company_id=row.company_id,
        role=Role(row.role),
        name=row.name,
        email=row.email,
        language=row.language,
        organizer_id=row.organizer_id,
        authorization_code=row.authorization_code,
    )
