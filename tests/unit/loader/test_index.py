"""The decision of section 3 of the design."""

import pytest

from loader.compiled import Block, compile_list
from loader.index import EMPTY, Decision, Index, Outcome, Question, Reason, Step, Unguarded, decide, explain
from loader.model import Conference, Entry, Level, Owner, Passcode, Pin, Revision

ORGANIZER = Owner(Level.ORGANIZER, "alicia")
CODE = Owner(Level.AUTHORIZATION_CODE, "3625046")
COMPANY = Owner(Level.COMPANY, "globaltest")
WEEKLY = Conference("C-1001", "Weekly call", Passcode("7784321"), "alicia", True, (ORGANIZER, CODE, COMPANY))
OPEN = Conference("C-1002", "Open house", Passcode("7784322"), "alicia", False, (ORGANIZER, CODE, COMPANY))


def listed(name: str, *pins: str, inactive: tuple[str, ...] = (), revision: int = 1) -> Block:
    entries = [Entry(Pin(pin), name, "Doe", "XYZ", "", "", "Uxbridge", "UK", "", pin not in inactive) for pin in pins]
    return Block(compile_list(entries), Revision(revision))


def index(**lists: Block) -> Index:
    owners = {"organizer": ORGANIZER, "code": CODE, "company": COMPANY}
    return EMPTY.changed(conferences=[WEEKLY, OPEN], lists={owners[name]: block for name, block in lists.items()})


def ask(asked: Index, pin: str, passcode: str = "7784321") -> Decision:
    return decide(asked, Question(passcode, pin))


def test_an_active_entry_is_accepted_with_who_it_is_and_whose_list_it_was() -> None:
    decision = ask(index(organizer=listed("Mike", "1234", revision=12)), "1234")
    assert decision.accepted
    assert decision.participant is not None
    assert decision.participant.first_name == "Mike"
    assert (decision.level, decision.revision, decision.conference) == (Level.ORGANIZER, 12, WEEKLY)


@pytest.mark.parametrize(
    ("lists", "answering"),
    [
        ({"organizer": "Ann", "code": "Ben", "company": "Cleo"}, "Ann"),
        ({"code": "Ben", "company": "Cleo"}, "Ben"),
        ({"organizer": "Ann", "company": "Cleo"}, "Ann"),
        ({"company": "Cleo"}, "Cleo"),
    ],
)
def test_lists_are_asked_in_order_organizer_code_company(lists: dict[str, str], answering: str) -> None:
    """The same PIN in several lists names the person of the first."""
    decision = ask(index(**{level: listed(name, "1234") for level, name in lists.items()}), "1234")
    assert decision.participant is not None
    assert decision.participant.first_name == answering


@pytest.mark.parametrize("further_on", ["code", "company"])
def test_an_inactive_entry_does_not_hide_one_further_on(further_on: str) -> None:
    asked = index(organizer=listed("Ann", "1234", inactive=("1234",)), **{further_on: listed("Ben", "1234")})
    decision = ask(asked, "1234")
    assert decision.participant is not None
    assert decision.participant.first_name == "Ben"


def test_only_an_inactive_entry_is_inactive_pin() -> None:
    asked = index(organizer=listed("Ann", "99"), company=listed("Ben", "1234", inactive=("1234",)))
    assert ask(asked, "1234").reason is Reason.INACTIVE_PIN


@pytest.mark.parametrize("pin", ["4321", "12345", "01234", "123", "1", "1234#", "*", "1" * 32, "not digits", "¹²³⁴"])
def test_what_is_in_no_list_is_unknown(pin: str) -> None:
    """Callers key anything; it is looked up or can be in no list, and both sound the same."""
    assert ask(index(organizer=listed("Ann", "1234")), pin).reason is Reason.UNKNOWN_PIN


def test_a_conference_without_any_list_knows_no_pin() -> None:
    assert ask(index(), "1234").reason is Reason.UNKNOWN_PIN


@pytest.mark.parametrize("passcode", ["7784320", "", "07784321", "x"])
def test_an_unknown_passcode_is_told_before_anything_of_the_pin(passcode: str) -> None:
    assert ask(index(organizer=listed("Ann", "1234")), "", passcode) == Decision(Reason.UNKNOWN_PASSCODE)


@pytest.mark.parametrize("pin", ["", "1234", "4321"])
def test_a_conference_with_pin_entry_off_accepts_without_a_participant(pin: str) -> None:
    assert ask(index(organizer=listed("Ann", "1234")), pin, "7784322") == Decision(None, OPEN)


def test_no_pin_keyed_is_pin_required() -> None:
    assert ask(index(organizer=listed("Ann", "1234")), "").reason is Reason.PIN_REQUIRED


class Locked(Unguarded):
    """Locks the caller or the conference, and remembers what it was asked."""

    def __init__(self, *, caller: int | None = None, conference: int | None = None) -> None:
        self.caller, self.conference = caller, conference

    def caller_locked_for(self) -> int | None:
        return self.caller

    def conference_locked_for(self, conference: Conference) -> int | None:
        return self.conference


def test_a_locked_caller_learns_nothing_else() -> None:
    """Also where the passcode is unknown or needs no PIN."""
    for passcode in ("7784321", "7784322", "1"):
        decision = decide(index(), Question(passcode, "1234"), Locked(caller=60))
        assert decision == Decision(Reason.LOCKED, retry_after=60)


def test_a_locked_conference_still_says_what_tells_nothing_about_pins() -> None:
    """Passcode unknown, PIN entry off and no PIN come before; every PIN, right or wrong, is locked."""
    asked, locked = index(organizer=listed("Ann", "1234")), Locked(conference=30)
    reasons = {
        (passcode, pin): decide(asked, Question(passcode, pin), locked).reason
        for passcode, pin in [
            ("1", "1234"),
            ("7784322", "1234"),
            ("7784321", ""),
            ("7784321", "1234"),
            ("7784321", "9"),
        ]
    }
    assert list(reasons.values()) == [
        Reason.UNKNOWN_PASSCODE, None, Reason.PIN_REQUIRED, Reason.LOCKED, Reason.LOCKED,
    ]  # fmt: skip


def test_a_changed_index_leaves_the_old_one_as_it_was() -> None:
    old = index(organizer=listed("Ann", "1234"))
    new = old.changed(lists={ORGANIZER: listed("Ann", "5678")})
    assert (ask(old, "1234").accepted, ask(old, "5678").accepted) == (True, False)
    assert (ask(new, "1234").accepted, ask(new, "5678").accepted) == (False, True)


def test_a_list_that_is_gone_answers_no_more() -> None:
    assert ask(index(organizer=listed("Ann", "1234")).changed(lists={ORGANIZER: None}), "1234").reason


def test_a_conference_that_is_gone_is_unknown() -> None:
    assert ask(index().changed(gone=["C-1001", "never was"]), "1").reason is Reason.UNKNOWN_PASSCODE


def test_a_new_passcode_replaces_the_old_one() -> None:
    moved = Conference("C-1001", "Weekly call", Passcode("9"), "alicia", True, WEEKLY.owners)
    changed = index().changed(conferences=[moved])
    assert ask(changed, "1", "7784321").reason is Reason.UNKNOWN_PASSCODE
    assert ask(changed, "1", "9").conference == moved


def test_two_conferences_can_swap_their_passcodes_in_one_change_or_in_two() -> None:
    """The feed may tell of either first."""
    weekly = Conference("C-1001", "Weekly call", Passcode("7784322"), "alicia", True, WEEKLY.owners)
    opened = Conference("C-1002", "Open house", Passcode("7784321"), "alicia", False, OPEN.owners)
    for changed in (
        index().changed(conferences=[weekly, opened]),
        index().changed(conferences=[weekly]).changed(conferences=[opened]),
        index().changed(conferences=[opened]).changed(conferences=[weekly]),
    ):
        assert ask(changed, "", "7784322").conference == weekly
        assert ask(changed, "", "7784321").conference == opened


def test_a_decision_is_explained_list_by_list() -> None:
    asked = index(
        organizer=listed("Ann", "1234", inactive=("1234",), revision=3), company=listed("Ben", "1234", "99", revision=4)
    )
    assert explain(asked, WEEKLY, "1234") == [
        Step(ORGANIZER, Outcome.INACTIVE, 3, 1),
        Step(CODE, Outcome.NO_LIST),
        Step(COMPANY, Outcome.ACTIVE, 4, 2),
    ]
    assert [step.outcome for step in explain(asked, WEEKLY, "#")] == [
        Outcome.NOT_IN_LIST, Outcome.NO_LIST, Outcome.NOT_IN_LIST,
    ]  # fmt: skip
