"""The directory: companies, authorization codes, organizers, conferences and users.

Applying a file is idempotent and all or nothing. It adds and changes; what it does not name stays as it is. An ID that
belongs to one company never moves to another. A conference for which the file leaves `pin_entry` out keeps what it
has; a new one has it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from loader.directory_file import Directory, Record, parse_directory
from loader.errors import DirectoryError
from loader.model import Kind
from loader.store import Store, Writing

__all__ = ["Directory", "Record", "Summary", "apply_directory", "parse_directory"]

_KEYS: Final = {"company": "id", "authorization_code": "code", "organizer": "id", "conference": "id", "user": "id"}

Rows = dict[str, dict[str, Any]]


class Summary(msgspec.Struct, frozen=True):
    """How many were created, updated, and left as they were, by kind: `company`, `authorization_code`, ..."""

    created: Mapping[str, int]
    updated: Mapping[str, int]
    unchanged: Mapping[str, int]


async def apply_directory(store: Store, directory: Directory) -> Summary:
    """Bring the database to what the directory says, in one transaction.

    Raises DirectoryError with every problem that the file has beside what the database holds, or DatabaseUnavailable;
    nothing has changed then.
    """
    async with store.writing() as writing:
        known = await _Known.load(writing, directory)
        problems = list(known.problems(directory))
        if problems:
            raise DirectoryError(*problems)
        created: dict[str, int] = {}
        updated: dict[str, int] = {}
        unchanged: dict[str, int] = {}
        for kind, rows in _rows(directory, known).items():
            key, old = _KEYS[kind], known.rows[kind]
            new = [row for row in rows if row[key] not in old]
            changed = [row for row in rows if row[key] in old and row != old[row[key]]]
            if kind == "conference":
                await _free_passcodes(writing, changed, old)
            await writing.update_rows(kind, changed)
            await writing.insert_rows(kind, new)
            _tell(writing, kind, new, changed, old)
            created[kind], updated[kind] = len(new), len(changed)
            unchanged[kind] = len(rows) - len(new) - len(changed)
        return Summary(created, updated, unchanged)


class _Known:
    """What the database holds of what a file names, and to which company each belongs."""

    def __init__(self, rows: Mapping[str, Rows], holders: Mapping[str, str]) -> None:
        self.rows = rows
        self._holders = holders
        self._company_of: dict[str, dict[str, str | None]] = {
            kind: {name: row["company_id"] for name, row in rows[kind].items()}
            for kind in ("authorization_code", "organizer", "user")
        }
        organizers = self._company_of["organizer"]
        self._company_of["conference"] = {
            name: organizers[row["organizer_id"]] for name, row in rows["conference"].items()
        }

    @classmethod
    async def load(cls, writing: Writing, directory: Directory) -> _Known:
        wanted = {kind: {r.values[_KEYS[kind]] for r in records} for kind, records in _records(directory).items()}
        for record in (*directory.organizers, *directory.users):
            for kind in ("authorization_code", "organizer"):
                if kind in record.values:
                    wanted[kind].add(record.values[kind])
        conferences = await writing.rows("conference", "id", wanted["conference"])
        wanted["organizer"] |= {row["organizer_id"] for row in conferences}
        rows: dict[str, Rows] = {}
        for kind, key in _KEYS.items():
            found = conferences if kind == "conference" else await writing.rows(kind, key, wanted[kind])
            rows[kind] = {row[key]: row for row in found}
        passcodes = [record.values["passcode"] for record in directory.conferences]
        holders = {row["passcode"]: row["id"] for row in await writing.rows("conference", "passcode", passcodes)}
        return cls(rows, holders)

    def problems(self, directory: Directory) -> Iterable[str]:
        """What is wrong with a file beside the database."""
        company_of = {kind: dict(companies) for kind, companies in self._company_of.items()}
        for kind, records in _records(directory).items():
            if kind == "company":
                continue
            for record in records:
                name = record.values[_KEYS[kind]]
                owner = company_of[kind].setdefault(name, record.company)
                if owner != record.company:
                    yield f"{record.at}.{_KEYS[kind]}: {name} belongs to {_company(owner)}, and cannot move"
        for record in (*directory.organizers, *directory.users):
            for field in ("authorization_code", "organizer"):
                name = record.values.get(field)
                if name is None:
                    continue
                if name not in company_of[field]:
                    yield f"{record.at}.{field}: there is no {field.replace('_', ' ')} {name}"
                elif company_of[field][name] != record.company:
                    yield f"{record.at}.{field}: {name} belongs to {_company(company_of[field][name])}"
        named = {record.values["id"] for record in directory.conferences}
        for record in directory.conferences:
            holder = self._holders.get(record.values["passcode"])
            # A holder that the file names too is given another passcode by it: the file has none twice.
            if holder is not None and holder not in named:
                yield f"{record.at}.passcode: {record.values['passcode']} is that of conference {holder} already"


def _records(directory: Directory) -> dict[str, tuple[Record, ...]]:
    return {
        "company": directory.companies,
        "authorization_code": directory.authorization_codes,
        "organizer": directory.organizers,
        "conference": directory.conferences,
        "user": directory.users,
    }


def _company(company: str | None) -> str:
    return f"company {company}" if company else "no company"


def _rows(directory: Directory, known: _Known) -> dict[str, list[dict[str, Any]]]:
    """The file's records as rows of the tables."""
    rows = {kind: [dict(record.values) for record in records] for kind, records in _records(directory).items()}
    for kind, records in _records(directory).items():
        for row, record in zip(rows[kind], records, strict=True):
            if kind == "conference":
                row["organizer_id"] = record.organizer
                old = known.rows[kind].get(row["id"])
                row.setdefault("pin_entry", old["pin_entry"] if old else True)
            elif kind != "company":
                row["company_id"] = record.company
            if kind == "user":
                row["organizer_id"] = row.pop("organizer", None)
                row.setdefault("authorization_code", None)
                row.setdefault("language", None)
    return rows


async def _free_passcodes(writing: Writing, changed: list[dict[str, Any]], old: Rows) -> None:
    """Conferences may take each other's passcodes, which are unique at every moment: so first none has its own."""
    moving = [row for row in changed if row["passcode"] != old[row["id"]]["passcode"]]
    await writing.update_rows(
        "conference", [{**old[row["id"]], "passcode": f"-{number}"} for number, row in enumerate(moving)]
    )


def _tell(writing: Writing, kind: str, new: list[dict[str, Any]], changed: list[dict[str, Any]], old: Rows) -> None:
    """Put into the feed what the daemon holds: conferences, and whose lists are asked for them."""
    if kind == "conference":
        for row in (*new, *changed):
            writing.changed(Kind.CONFERENCE, row["id"])
    if kind == "organizer":
        for row in changed:
            if row["authorization_code"] != old[row["id"]]["authorization_code"]:
                writing.changed(Kind.ORGANIZER, row["id"])
