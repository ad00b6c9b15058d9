"""The directory file, and applying it."""

import json
import tomllib
from typing import Any, Literal

import pytest

from loader.directory import Directory, apply_directory, parse_directory
from loader.errors import DirectoryError
from loader.model import Change, Conference, Kind, Level, Owner, Passcode
from loader.store import Store, migrate, open_store

COMPANY: dict[str, Any] = {
    "id": "acme",
    "name": "Acme",
    "authorization_code": [{"code": "11", "label": "ELEVEN"}, {"code": "12", "label": "TWELVE"}],
    "organizer": [
        {
            "id": "ann",
            "name": "Ann",
            "email": "ann@example.com",
            "authorization_code": "11",
            "conference": [
                {"id": "A-1", "title": "One", "passcode": "111", "pin_entry": True},
                {"id": "A-2", "title": "Two", "passcode": "222", "pin_entry": False},
            ],
        },
        {"id": "ben", "name": "Ben", "email": "ben@example.com", "authorization_code": "12"},
    ],
    "user": [
        {"id": "ann-u", "name": "Ann", "email": "a@example.com", "role": "organizer", "organizer": "ann"},
        {"id": "adm", "name": "Adm", "email": "b@example.com", "role": "administrator", "authorization_code": "11"},
        {"id": "all", "name": "All", "email": "c@example.com", "role": "administrator", "language": "ja"},
        {"id": "sup", "name": "Sup", "email": "d@example.com", "role": "super-administrator"},
        {"id": "coo", "name": "Coo", "email": "e@example.com", "role": "coordinator"},
    ],
}
ACME: dict[str, Any] = {"company": [COMPANY], "user": [{"id": "op", "name": "Op", "email": "op@example.com"}]}


def edited(path: str, value: Any) -> dict[str, Any]:
    """Acme's file with one value replaced; None takes it out. The path is `company.0.organizer.1.id`."""
    document: dict[str, Any] = json.loads(json.dumps(ACME))
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    table: Any = document
    for step in steps:
        table = table[step]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return document


def parsed(document: Any) -> Directory:
    return parse_directory(json.dumps(document).encode(), format="json")


def problems(document: Any) -> tuple[str, ...]:
    with pytest.raises(DirectoryError) as caught:
        parsed(document)
    return caught.value.problems


async def refused(store: Store, document: Any) -> tuple[str, ...]:
    directory = parsed(document)
    position = await store.position()
    with pytest.raises(DirectoryError) as caught:
        await apply_directory(store, directory)
    assert await store.position() == position
    return caught.value.problems


def test_toml_and_json_say_the_same(example: bytes) -> None:
    """A directory file may be either, with one shape."""
    as_json = json.dumps(tomllib.loads(example.decode())).encode()
    assert parse_directory(example, format="toml") == parse_directory(as_json, format="json")


def test_an_empty_file_says_nothing() -> None:
    """No company and no user is no mistake."""
    assert parse_directory(b"", format="toml") == parse_directory(b"\xef\xbb\xbf{}", format="json") == Directory()


@pytest.mark.parametrize(
    ("text", "format_", "said"),
    [
        (b"\xff", "toml", "not UTF-8"),
        (b"[[company]]\nid = !\n", "toml", "line 2"),
        (b'{"company": [}', "json", "line 1"),
        (b"[" * 100_000, "json", "nested too deeply"),
        (b"[]", "json", "must hold"),
    ],
)
def test_a_file_of_another_kind_is_named_for_it(text: bytes, format_: Literal["toml", "json"], said: str) -> None:
    """What is not TOML or JSON is refused, with its line where there is one."""
    with pytest.raises(DirectoryError, match=said):
        parse_directory(text, format=format_)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("company.0.id", "a b", "company[0].id: an ID has 1 to 64 letters"),
        ("company.0.id", None, "company[0].id: is missing"),
        ("company.0.name", " ", "company[0].name: must not be empty"),
        ("company.0.name", "x" * 201, "company[0].name: has more than 200 characters"),
        ("company.0.nmae", "Acme", "company[0].nmae: there is no such key here"),
        ("company.0.organizer", {}, "company[0].organizer: must be a list of tables"),
        ("company.0.organizer.1", "ben", "company[0].organizer[1]: must be a table"),
        ("company.0.authorization_code.1.code", "1-2", "company[0].authorization_code[1].code: an authorization code"),
        ("company.0.authorization_code.1.code", "11", "11 stands already at company[0].authorization_code[0]"),
        (
            "company.0.organizer.1.id",
            "ann",
            "company[0].organizer[1].id: ann stands already at company[0].organizer[0]",
        ),
        ("company.0.organizer.0.email", "ann", "company[0].organizer[0].email: is not an e-mail address"),
        ("company.0.organizer.0.conference.1.passcode", 222, "conference[1].passcode: must be text in quotes"),
        ("company.0.organizer.0.conference.1.passcode", "22a", "conference[1].passcode: a passcode has 1 to 32 digits"),
        ("company.0.organizer.0.conference.1.passcode", "111", "conference[1].passcode: 111 stands already at"),
        ("company.0.organizer.0.conference.1.pin_entry", "1", "conference[1].pin_entry: must be true or false"),
        ("company.0.user.0.role", "boss", "company[0].user[0].role: is not one of organizer, administrator"),
        ("company.0.user.0.organizer", None, "company[0].user[0].organizer: is missing"),
        ("company.0.user.1.organizer", "ann", "company[0].user[1].organizer: is only for"),
        ("company.0.user.3.authorization_code", "11", "company[0].user[3].authorization_code: is only for"),
        ("company.0.user.2.language", "it", "company[0].user[2].language: is not one of en, fr, de, ja"),
        ("company.0.user.4.role", "operator", "company[0].user[4].role: a user with this role stands at the top"),
        ("user.0.role", "coordinator", "user[0].role: a user with this role stands within a company"),
        ("user.0.id", "coo", "user[0].id: coo stands already at company[0].user[4]"),
        ("companies", [], "companies: there is no such key here; there are company, user"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(path: str, value: Any, problem: str) -> None:
    """Each fault gives one problem, which names the place in the file."""
    (told,) = problems(edited(path, value))
    assert problem in told


def test_all_problems_are_told_at_once() -> None:
    """One run of the tool is enough to learn of every fault."""
    document = edited("company.0.id", "a b")
    document["company"][0]["organizer"][0]["conference"][0]["passcode"] = "x"
    document["user"][0]["email"] = "op"
    assert [problem.split(":")[0] for problem in problems(document)] == [
        "company[0].id",
        "company[0].organizer[0].conference[0].passcode",
        "user[0].email",
    ]


async def test_the_example_of_the_design_applies(url: str, example: bytes) -> None:
    """The file of the design gives one conference, which asks three lists in order."""
    await migrate(url)
    async with open_store(url) as store:
        summary = await apply_directory(store, parse_directory(example, format="toml"))
        assert summary.created == {
            "company": 2,
            "authorization_code": 2,
            "organizer": 1,
            "conference": 1,
            "user": 0,
        }
        assert [conference async for conference in store.conferences()] == [
            Conference(
                "C-1001",
                "Weekly call",
                Passcode("7784321"),
                "alicia",
                True,
                (
                    Owner(Level.ORGANIZER, "alicia"),
                    Owner(Level.AUTHORIZATION_CODE, "3625046"),
                    Owner(Level.COMPANY, "globaltest"),
                ),
            )
        ]


async def test_applying_again_changes_nothing(store: Store) -> None:
    """The second time all is unchanged, and the feed is silent."""
    first = await apply_directory(store, parsed(ACME))
    position = await store.position()
    again = await apply_directory(store, parsed(ACME))
    assert (
        first.created
        == again.unchanged
        == {
            "company": 1,
            "authorization_code": 2,
            "organizer": 2,
            "conference": 2,
            "user": 6,
        }
    )
    assert set(again.created.values()) == set(again.updated.values()) == {0}
    assert await store.position() == position


async def test_what_a_file_does_not_name_stays(store: Store) -> None:
    """A file is not a purge."""
    await apply_directory(store, parsed(ACME))
    await apply_directory(store, Directory())
    assert await store.counts() == {
        "company": 3,
        "authorization_code": 4,
        "organizer": 3,
        "conference": 3,
        "user": 6,
        "switch": 0,
    }


@pytest.mark.parametrize(
    ("path", "value", "kind", "told"),
    [
        ("company.0.name", "New", "company", []),
        ("company.0.authorization_code.0.label", "New", "authorization_code", []),
        ("company.0.organizer.0.name", "New", "organizer", []),
        ("company.0.organizer.0.authorization_code", "12", "organizer", [(Kind.ORGANIZER, "ann")]),
        ("company.0.organizer.0.conference.0.title", "New", "conference", [(Kind.CONFERENCE, "A-1")]),
        ("company.0.organizer.0.conference.1.pin_entry", True, "conference", [(Kind.CONFERENCE, "A-2")]),
        ("company.0.user.0.language", "fr", "user", []),
        ("company.0.user.1.authorization_code", None, "user", []),
    ],
)
async def test_a_change_updates_and_tells_those_who_follow(
    store: Store, path: str, value: Any, kind: str, told: list[tuple[Kind, str]]
) -> None:
    """One record is updated; the feed tells of what the daemon holds."""
    await apply_directory(store, parsed(ACME))
    position = await store.position()
    summary = await apply_directory(store, parsed(edited(path, value)))
    assert [name for name, count in summary.updated.items() if count] == [kind]
    assert summary.updated[kind] == 1
    assert [(change.kind, change.id) for change in await store.changes_since(position)] == told


async def test_conferences_may_swap_their_passcodes(store: Store) -> None:
    """A passcode is unique at every moment, and yet two can change places in one file."""
    await apply_directory(store, parsed(ACME))
    position = await store.position()
    document = edited("company.0.organizer.0.conference.0.passcode", "222")
    document["company"][0]["organizer"][0]["conference"][1]["passcode"] = "111"
    await apply_directory(store, parsed(document))
    found = {conference.id: conference.passcode async for conference in store.conferences(ids=["A-1", "A-2"])}
    assert found == {"A-1": "222", "A-2": "111"}
    changes: list[Change] = await store.changes_since(position)
    assert {change.id for change in changes} == {"A-1", "A-2"}


async def test_pin_entry_left_out_stays_as_it_is(store: Store) -> None:
    """A new conference asks for a PIN; one that does not ask goes on not asking."""
    await apply_directory(store, parsed(ACME))
    document = edited("company.0.organizer.0.conference.1.pin_entry", None)
    document["company"][0]["organizer"][0]["conference"].append({"id": "A-3", "title": "Three", "passcode": "333"})
    await apply_directory(store, parsed(document))
    found = {conference.id: conference.pin_entry async for conference in store.conferences(organizers=["ann"])}
    assert found == {"A-1": True, "A-2": False, "A-3": True}


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("company.0.organizer.0.conference.0.passcode", "7784321", "passcode: 7784321 is that of conference C-1001"),
        (
            "company.0.organizer.0.authorization_code",
            "99",
            "organizer[0].authorization_code: there is no authorization",
        ),
        ("company.0.organizer.0.authorization_code", "77", "authorization_code: 77 belongs to company other"),
        ("company.0.user.0.organizer", "alicia", "user[0].organizer: alicia belongs to company globaltest"),
        ("company.0.user.1.authorization_code", "99", "user[1].authorization_code: there is no authorization code 99"),
        (
            "company.0.organizer.1.id",
            "alicia",
            "organizer[1].id: alicia belongs to company globaltest, and cannot move",
        ),
        ("company.0.authorization_code.1.code", "77", "code: 77 belongs to company other, and cannot move"),
        (
            "company.0.organizer.0.conference.0.id",
            "C-1001",
            "id: C-1001 belongs to company globaltest, and cannot move",
        ),
    ],
)
async def test_what_does_not_fit_the_database_changes_nothing(
    store: Store, path: str, value: Any, problem: str
) -> None:
    """A clash with what is there is told with its place, and nothing of the file is applied."""
    assert problem in "\n".join(await refused(store, edited(path, value)))
    assert (await store.counts())["company"] == 2


async def test_a_user_does_not_move_to_another_company(store: Store) -> None:
    """Nor does an operator become somebody's user."""
    await apply_directory(store, parsed(ACME))
    user = {"id": "op", "name": "Op", "email": "op@example.com", "role": "coordinator"}
    document = {"company": [{"id": "other", "name": "Other", "user": [user, {**user, "id": "coo"}]}]}
    assert await refused(store, document) == (
        "company[0].user[0].id: op belongs to no company, and cannot move",
        "company[0].user[1].id: coo belongs to company acme, and cannot move",
    )


def test_a_key_that_stands_twice_in_an_object_hides_nothing() -> None:
    """As TOML has it; otherwise the first would be left out without a word."""
    with pytest.raises(DirectoryError, match="twice"):
        parse_directory(b'{"company": [], "company": []}', format="json")
