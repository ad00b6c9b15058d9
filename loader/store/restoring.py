"""What a copy of the database holds is put back, into the database in use or as a file in its place.

A copy that is put back undoes what people have decided since: lists, directory, users, switches, choices. It does not
undo what has happened since. Calls were held, mail was sent, companies were told, and the audit trail says who did what:
in a database that is in use all of that stays, so that nothing of a roll is lost or counted twice, and nothing is sent
or told a second time. Where there is none, only the copy knows, and what it had still to send is taken as sent.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, lockf
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import Table

from loader.errors import DatabaseUnavailable
from loader.model import Kind
from loader.store import tables as t
from loader.store.copies import SIDE_FILES, copy_database, move_into_place, opened, sync, unfinished
from loader.store.engine import errors_translated
from loader.store.invitations import INTERRUPTED

HAPPENED: Final = (
    t.occurrence,
    t.call,
    t.journal,
    t.webhook_delivery,
    t.invitation,
    t.lockout,
    t.audit,
    t.consent,
    t.sign_in_failure,
    t.daemon_state,
    t.key_in_use,
)
"""What stays as it is now."""
FEED: Final = (t.feed, t.change)
"""The feed of changes goes on: what is different now is one more change."""
ENDED: Final = (t.web_session, t.one_time_link, t.staged_upload)
"""What is empty afterwards: a session or a link of the copy may have been ended since, and for a good reason."""
DECIDED: Final = tuple(table for table in t.metadata.sorted_tables if table not in {*HAPPENED, *FEED, *ENDED})
"""What goes back."""

_SHARED_BYTES: Final = (510, 0x40000002)
"""How many bytes, from where on, who has an SQLite database open has locked (`SHARED_FIRST` in SQLite's os.h)."""


Ready: TypeAlias = Callable[[], object]
"""Is called once nobody else can write to the database, such as a rotation of the keys, and may still refuse."""


class Entry(msgspec.Struct, frozen=True):
    """What the audit trail is told: when, who, which copy, and what else there is to say."""

    at: float
    by: str
    copy: str
    detail: str


class Returned(msgspec.Struct, frozen=True):
    """Who may do again what had been taken from him since the copy: switches by token, users, users by their old password."""

    switches: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    passwords: tuple[str, ...] = ()


def put_back(copy: Path, database: Path, aside: Path, entry: Entry, ready: Ready) -> Returned:
    """Put back into a database that is in use what was decided, and keep what it held in the file `aside`.

    It is one transaction: all see the old or the new, and writers wait for its end. Daemons follow by the feed, as with
    any change. Both must be of this program's version. Raises DatabaseUnavailable, and what `ready` raises; the database
    is then as it was.
    """
    with errors_translated(str(database)), opened(database) as live:
        live.execute("ATTACH ? AS copy", (str(copy),))
        live.execute("BEGIN IMMEDIATE")
        ready()
        # Nobody writes from here on: what is kept is all there was.
        with errors_translated(str(aside)), unfinished(aside.parent) as former:
            copy_database(database, former)
            move_into_place(former, aside)
        try:
            returned = _replace(live, entry)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        live.execute("DETACH copy")
        # All of it stands in the write-ahead log now. Who reads may keep it there for a while longer.
        live.execute("PRAGMA busy_timeout = 0")
        live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return returned


def _replace(live: sqlite3.Connection, entry: Entry) -> Returned:
    """The rest of the transaction; `copy` is attached."""
    returned = _returned(live, entry.at)
    live.execute(f"CREATE TEMP TABLE was AS SELECT {_FEED_COLUMNS} FROM main.change")
    live.execute("CREATE TEMP TABLE codes AS SELECT user_id, totp_step FROM main.credential")
    _empty(live, (*reversed(DECIDED), *ENDED))
    for table in DECIDED:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        live.execute(f"INSERT INTO main.{table.name} ({columns}) SELECT {columns} FROM copy.{table.name}")
    # A code that was used since is not good once more.
    live.execute(
        "UPDATE main.credential SET totp_step = max(credential.totp_step, codes.totp_step) "
        "FROM temp.codes WHERE codes.user_id = credential.user_id"
    )
    _tell_feed(live, entry.at)
    _record(live, entry)
    live.execute("COMMIT")
    return returned


def put_in_place(copy: Path, database: Path, aside: Path, entry: Entry, ready: Ready) -> bool:
    """Make a copy, which is changed for that, the database: as a file, with one rename. Whether there was one before.

    What was there is kept as `aside`, with what stood beside it. Raises DatabaseUnavailable if somebody has it open, or
    the disk does not do it, and what `ready` raises.
    """
    with errors_translated(str(copy)), opened(copy) as connection:
        connection.execute("BEGIN IMMEDIATE")
        _empty(connection, (*ENDED, t.daemon_state))
        _take_as_sent(connection, entry.at)
        _record(connection, entry)
        connection.execute("COMMIT")
        # With the log emptied the file stands for itself.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _empty_log(database)
    with errors_translated(str(database)), _unused(database):
        ready()
        was_there = database.exists()
        owner = (database if was_there else database.parent).stat()
        if os.geteuid() == 0:
            os.chown(copy, owner.st_uid, owner.st_gid)
        if was_there:
            os.link(database, aside)
        # A log of the former one would be taken for the new one's.
        for suffix in SIDE_FILES:
            with suppress(FileNotFoundError):
                database.with_name(database.name + suffix).rename(aside.with_name(aside.name + suffix))
        sync(database.parent)
        move_into_place(copy, database)
    return was_there


def _empty_log(database: Path) -> None:
    """Have all that is committed in the file itself, as far as it can be: it is whole then when its log is taken away."""
    with suppress(sqlite3.Error, DatabaseUnavailable), opened(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _unused(database: Path) -> Iterator[None]:
    """Nobody has the database open, nor can use it meanwhile. Raises DatabaseUnavailable if somebody has."""
    if not database.exists():
        yield
        return
    handle = os.open(database, os.O_RDWR)
    try:
        try:
            lockf(handle, LOCK_EX | LOCK_NB, *_SHARED_BYTES)
        except OSError:
            raise DatabaseUnavailable(
                f"{database} is in use; stop daemon and web site for as long as it takes to replace it"
            ) from None
        yield
    finally:
        os.close(handle)


_FEED_COLUMNS: Final = "kind, id, position, committed_at"


def _tell_feed(live: sqlite3.Connection, now: float) -> None:
    """Whatever is in one feed only, or elsewhere in the other, has changed now: after all that either ever told of.

    What was unlocked happened when it did: told as of now it would have daemons forget the wrong tries since.
    """
    same = f"SELECT {_FEED_COLUMNS} FROM copy.change INTERSECT SELECT {_FEED_COLUMNS} FROM temp.was"
    (last,) = live.execute(
        "SELECT max(position) FROM (SELECT position FROM main.feed UNION SELECT position FROM copy.feed)"
    ).fetchone()
    live.execute(
        "CREATE TEMP TABLE changed AS SELECT kind, id FROM ("
        f"SELECT kind, id FROM copy.change UNION SELECT kind, id FROM temp.was) WHERE kind != '{Kind.UNLOCK.value}' "
        f"EXCEPT SELECT kind, id FROM ({same})"
    )
    count = live.execute(
        "INSERT OR REPLACE INTO main.change (kind, id, position, committed_at) "
        "SELECT kind, id, ? + rowid, ? FROM temp.changed",
        (last, now),
    ).rowcount
    live.execute("UPDATE main.feed SET position = ?", (last + count,))


def _returned(live: sqlite3.Connection, now: float) -> Returned:
    def names(query: str, *values: object) -> tuple[str, ...]:
        return tuple(row[0] for row in live.execute(f"{query} ORDER BY 1", values))

    def end(of: str) -> str:
        return f"ifnull({of}.expires_at, 9e999)"

    return Returned(
        # A token that is good, and is not known any more or would have ended earlier.
        switches=names(
            "SELECT DISTINCT old.switch_id FROM copy.switch_token old LEFT JOIN main.switch_token new ON new.hash = old.hash "
            f"WHERE {end('old')} > ? AND (new.hash IS NULL OR {end('old')} > {end('new')})",
            now,
        ),
        users=names("SELECT id FROM copy.app_user EXCEPT SELECT id FROM main.app_user"),
        passwords=names(
            "SELECT old.user_id FROM copy.credential old JOIN main.credential new ON new.user_id = old.user_id "
            "WHERE old.password_hash IS NOT new.password_hash"
        ),
    )


def _take_as_sent(connection: sqlite3.Connection, now: float) -> None:
    """Nobody knows what was sent after the copy was made: it is not sent by itself, and pages say so."""
    connection.execute(
        "UPDATE webhook_delivery SET next_at = NULL, leased_until = NULL, key_id = NULL, sealed = NULL, done_at = ? "
        "WHERE next_at IS NOT NULL",
        (now,),
    )
    connection.execute(
        "UPDATE invitation SET failed = ?, claimed_at = NULL WHERE sent_at IS NULL AND failed IS NULL", (INTERRUPTED,)
    )
    connection.execute(
        "UPDATE occurrence SET send_failed = ?, send_asked_at = NULL, send_claimed_at = NULL "
        "WHERE send_asked_at IS NOT NULL OR (sent_at IS NULL AND send_failed IS NULL AND organizer_id IN "
        "(SELECT organizer_id FROM organizer_choice WHERE send_roll))",
        (INTERRUPTED,),
    )


def _record(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO main.audit (at, user_id, address, action, target, detail) VALUES (?, ?, '', ?, ?, ?)",
        (entry.at, entry.by, "database_restored", entry.copy[-160:], entry.detail),
    )


def _empty(connection: sqlite3.Connection, tables: Iterable[Table]) -> None:
    for table in tables:
        connection.execute(f"DELETE FROM main.{table.name}")
