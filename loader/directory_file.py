"""The directory file, TOML or JSON, becomes values: companies, codes, organizers, conferences and users."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from loader.errors import DirectoryError, InvalidValue
from loader.model import (
    LANGUAGES,
    Role,
    parse_authorization_code,
    parse_identifier,
    parse_passcode,
    parse_text,
)


class Record(NamedTuple):
    """One company, authorization code, organizer, conference or user of a file, and where it stands in it.

    `values` has a value for each field that the file gives. `company` and `organizer` are those that it stands under.
    """

    at: str
    values: dict[str, Any]
    company: str | None = None
    organizer: str | None = None


class Directory(msgspec.Struct, frozen=True):
    """What a directory file says: each value right by itself, no ID and no passcode twice."""

    companies: tuple[Record, ...] = ()
    authorization_codes: tuple[Record, ...] = ()
    organizers: tuple[Record, ...] = ()
    conferences: tuple[Record, ...] = ()
    users: tuple[Record, ...] = ()


def parse_directory(text: bytes, *, format: Literal["toml", "json"]) -> Directory:  # noqa: A002 - the word of the tool
    """A directory file becomes values. Raises DirectoryError with every problem, each with its place in the file."""
    reading = _Reading()
    reading.read(_decode(text, format))
    if reading.problems:
        raise DirectoryError(*reading.problems)
    return Directory(*(tuple(reading.records[kind]) for kind in _FIELDS))


def _decode(text: bytes, format_: Literal["toml", "json"]) -> Any:
    try:
        decoded = text.decode("utf-8-sig")
        return tomllib.loads(decoded) if format_ == "toml" else json.loads(decoded, object_pairs_hook=_table)
    except UnicodeDecodeError:
        raise DirectoryError("the file is not UTF-8 text") from None
    except RecursionError:
        raise DirectoryError("the file is nested too deeply") from None
    except ValueError as error:
        raise DirectoryError(f"the file is not {format_.upper()}: {error}") from None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As TOML has it: a key stands once, so that nothing is left out without a word. Raises ValueError."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return table


class _Field(NamedTuple):
    """How a text becomes the field's value; without `parse` the field is true or false."""

    parse: Callable[[str], Any] | None
    required: bool = True


def parse_email(text: str) -> str:
    """Text becomes a mail address, checked as far as one can without sending. Raises InvalidValue."""
    text = parse_text(text)
    if re.fullmatch(r"[^@\s]+@[^@\s]+", text) is None:
        raise InvalidValue("is not an e-mail address")
    return text


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise InvalidValue(f"is not one of {', '.join(allowed)}")
        return text

    return parse


_FIELDS: Final[dict[str, dict[str, _Field]]] = {
    "company": {"id": _Field(parse_identifier), "name": _Field(parse_text)},
    "authorization_code": {"code": _Field(parse_authorization_code), "label": _Field(parse_text)},
    "organizer": {
        "id": _Field(parse_identifier),
        "name": _Field(parse_text),
        "email": _Field(parse_email),
        "authorization_code": _Field(parse_authorization_code),
    },
    "conference": {
        "id": _Field(parse_identifier),
        "title": _Field(parse_text),
        "passcode": _Field(parse_passcode),
        "pin_entry": _Field(None, required=False),
    },
    "user": {
        "id": _Field(parse_identifier),
        "name": _Field(parse_text),
        "email": _Field(parse_email),
        "role": _Field(_one_of(*Role)),
        "language": _Field(_one_of(*LANGUAGES), required=False),
        "organizer": _Field(parse_identifier, required=False),
        "authorization_code": _Field(parse_authorization_code, required=False),
    },
}
_ONLY_FOR: Final = {
    "organizer": (Role.ORGANIZER.value, Role.SUPER_ADMINISTRATOR.value),
    "authorization_code": (Role.ADMINISTRATOR.value,),
}
"""Which users have what of their own: a super-administrator may hold conferences too."""
_WITHIN: Final = {
    "": ("company", "user"),
    "company": ("authorization_code", "organizer", "user"),
    "organizer": ("conference",),
}


class _Reading:
    """A walk through a file that goes on after a problem."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.records: dict[str, list[Record]] = {kind: [] for kind in _FIELDS}
        self._seen: dict[tuple[str, str], str] = {}

    def read(self, document: Any) -> None:
        if not isinstance(document, dict):
            self.problems.append("the file must hold `company` and `user`")
            return
        self._unknown("", "", document)
        for kind, at, table in self._tables("", "", document):
            if kind == "company":
                self._company(at, table)
            else:
                self._user(at, {"role": Role.OPERATOR.value} | table, company=None)

    def _company(self, at: str, table: dict[str, Any]) -> None:
        company = self._record("company", at, table).values.get("id")
        for kind, inner_at, inner in self._tables("company", at, table):
            if kind == "user":
                self._user(inner_at, inner, company=company or "")
                continue
            record = self._record(kind, inner_at, inner, company=company)
            for _, conference_at, conference in self._tables(kind, inner_at, inner):
                organizer = record.values.get("id")
                self._record("conference", conference_at, conference, company=company, organizer=organizer)

    def _user(self, at: str, table: dict[str, Any], *, company: str | None) -> None:
        values = self._record("user", at, table, company=company).values
        role = values.get("role")
        if role is None:
            return
        if (role == Role.OPERATOR) != (company is None):
            where = "at the top of the file" if role == Role.OPERATOR else "within a company"
            self.problems.append(f"{at}.role: a user with this role stands {where}")
        if role == Role.ORGANIZER and "organizer" not in table:
            self.problems.append(f"{at}.organizer: is missing: whose list does this user manage?")
        for field, needed in _ONLY_FOR.items():
            if field in table and role not in needed:
                self.problems.append(f"{at}.{field}: is only for a user with the role {' or '.join(needed)}")

    def _record(
        self,
        kind: str,
        at: str,
        table: dict[str, Any],
        *,
        company: str | None = None,
        organizer: str | None = None,
    ) -> Record:
        self._unknown(kind, at, table)
        record = Record(at, self._values(kind, at, table), company, organizer)
        self.records[kind].append(record)
        key = next(iter(_FIELDS[kind]))
        for field in (key, "passcode"):
            if field in record.values:
                first = self._seen.setdefault((f"{kind}.{field}", record.values[field]), at)
                if first != at:
                    self.problems.append(f"{at}.{field}: {record.values[field]} stands already at {first}")
        return record

    def _values(self, kind: str, at: str, table: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in _FIELDS[kind].items():
            if name not in table:
                if field.required:
                    self.problems.append(f"{at}.{name}: is missing")
                continue
            value = table[name]
            if field.parse is None:
                if isinstance(value, bool):
                    values[name] = value
                else:
                    self.problems.append(f"{at}.{name}: must be true or false")
            elif isinstance(value, str):
                try:
                    values[name] = field.parse(value)
                except InvalidValue as error:
                    self.problems.append(f"{at}.{name}: {error}")
            else:
                self.problems.append(f"{at}.{name}: must be text in quotes")
        return values

    def _tables(self, kind: str, at: str, table: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for inner in _WITHIN.get(kind, ()):
            tables = table.get(inner, [])
            place = f"{at}.{inner}" if at else inner
            if not isinstance(tables, list):
                self.problems.append(f"{place}: must be a list of tables")
                continue
            for number, one in enumerate(tables):
                if isinstance(one, dict):
                    yield inner, f"{place}[{number}]", one
                else:
                    self.problems.append(f"{place}[{number}]: must be a table")

    def _unknown(self, kind: str, at: str, table: Mapping[str, Any]) -> None:
        known = [*_FIELDS.get(kind, ()), *_WITHIN.get(kind, ())]
        for name in table:
            if name not in known:
                place = f"{at}.{name}" if at else name
                self.problems.append(f"{place}: there is no such key here; there are {', '.join(known)}")
