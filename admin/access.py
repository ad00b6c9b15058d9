"""Who may do what: section 2 of the design, in one table.

A user of one company never learns whether something of another is there: for both the answer is NotFound.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from loader.errors import NotFound
from loader.keyring import Keyring
from loader.model import Level, Owner, Role, User
from loader.store import Desk
from loader.store.lockouts import Lockout, Lockouts
from loader.store.rolls import Occurrence, RollBook

LIVE_FOR: Final = 3600.0
"""Seconds after its end in which an occurrence still counts as one that is on: for whoever has watched it."""


class Action(StrEnum):
    """What a page lets a user do."""

    LISTS = "lists"
    """See, upload, edit and put back PIN lists."""
    CONFERENCES = "conferences"
    """See conferences, and turn PIN entry on and off."""
    SEND_ROLLS = "send-rolls"
    """Have a roll sent to its organizer."""
    LIVE_ROLLS = "live-rolls"
    """Watch the rolls of conferences that are on."""
    ROLLS = "rolls"
    """See the rolls of those that are over too, and download them."""
    LOCKS = "locks"
    """See who must wait, as too many wrong tries were made."""
    UNLOCK = "unlock"
    """Let those try again."""
    DIRECTORY = "directory"
    """Manage a company's users, organizers, codes and conferences."""
    SETTINGS = "settings"
    """Choose a company's numbers to dial in, how long its rolls are kept, and where their events go."""
    INSTALLATION = "installation"
    """Manage companies and switches, and see who is signed in."""
    AUDIT = "audit"
    """Read the audit trail."""


class Scope(StrEnum):
    """How far it reaches."""

    NOTHING = "nothing"
    OWN = "own"
    """The user's own organizer."""
    ASSIGNED = "assigned"
    """The one list that the user is assigned to."""
    COMPANY = "company"
    """All of the user's company."""
    ALL = "all"
    """All companies."""


_N, _OWN, _ASSIGNED, _COMPANY, _ALL = Scope.NOTHING, Scope.OWN, Scope.ASSIGNED, Scope.COMPANY, Scope.ALL

MATRIX: Final[Mapping[Action, Mapping[Role, Scope]]] = {
    action: dict(zip(Role, scopes, strict=True))
    for action, scopes in {
        # organizer, administrator, super-administrator, coordinator, operator
        Action.LISTS: (_OWN, _ASSIGNED, _COMPANY, _N, _N),
        Action.CONFERENCES: (_OWN, _N, _COMPANY, _N, _N),
        Action.SEND_ROLLS: (_OWN, _N, _COMPANY, _COMPANY, _N),
        Action.LIVE_ROLLS: (_OWN, _N, _COMPANY, _COMPANY, _N),
        Action.ROLLS: (_OWN, _N, _COMPANY, _N, _N),
        Action.LOCKS: (_OWN, _N, _COMPANY, _COMPANY, _ALL),
        Action.UNLOCK: (_OWN, _N, _COMPANY, _N, _ALL),
        Action.DIRECTORY: (_N, _N, _COMPANY, _N, _ALL),
        Action.SETTINGS: (_N, _N, _COMPANY, _N, _ALL),
        Action.INSTALLATION: (_N, _N, _N, _N, _ALL),
        Action.AUDIT: (_N, _N, _COMPANY, _N, _ALL),
    }.items()
}


def scope(user: User, action: Action) -> Scope:
    """How far a user may do something."""
    return MATRIX[action][user.role]


def require(user: User, action: Action) -> Scope:
    """As :func:`scope`. Raises NotFound if he may not do it at all."""
    reach = scope(user, action)
    if reach is Scope.NOTHING:
        raise NotFound("there is no such page")
    return reach


def assigned_owner(user: User) -> Owner | None:
    """Whose list is a user's own: the organizer's, or the one that an administrator is assigned to."""
    if user.role is Role.ADMINISTRATOR:
        if user.authorization_code is not None:
            return Owner(Level.AUTHORIZATION_CODE, user.authorization_code)
        return Owner(Level.COMPANY, user.company_id or "")
    return None if user.organizer_id is None else Owner(Level.ORGANIZER, user.organizer_id)


async def require_list(desk: Desk, user: User, level: str, owner_id: str) -> Owner:
    """The owner whose list a page is about. Raises NotFound if there is none, or it is not for this user."""
    reach = require(user, Action.LISTS)
    try:
        owner = Owner(Level(level), owner_id)
    except ValueError:
        raise NotFound("there is no such list") from None
    company = await desk.company_of(owner)
    if company is None or company != user.company_id:
        raise NotFound("there is no such list")
    if reach is not Scope.COMPANY and owner != assigned_owner(user):
        raise NotFound("there is no such list")
    return owner


async def require_roll(book: RollBook, user: User, occurrence_id: int, *, now: float) -> Occurrence:
    """The occurrence whose roll a page is about. Raises NotFound if there is none, or it is not for this user."""
    reach = require(user, Action.LIVE_ROLLS)
    occurrence = await book.occurrence(occurrence_id)
    if occurrence is None or occurrence.company_id != user.company_id:
        raise NotFound("there is no such roll")
    if reach is not Scope.COMPANY and occurrence.organizer_id != user.organizer_id:
        raise NotFound("there is no such roll")
    if occurrence.ended_at is not None and occurrence.ended_at < now - LIVE_FOR:
        require(user, Action.ROLLS)
    return occurrence


async def require_lockout(lockouts: Lockouts, keyring: Keyring, user: User, lockout_id: str) -> Lockout:
    """What is to be unlocked. Raises NotFound if it is not known, or not for this user to unlock."""
    reach = require(user, Action.UNLOCK)
    lockout = await lockouts.lockout(keyring, lockout_id)
    if lockout is None or (reach is not Scope.ALL and lockout.company_id != user.company_id):
        raise NotFound("there is no such lock")
    if reach is Scope.OWN and lockout.organizer_id != user.organizer_id:
        raise NotFound("there is no such lock")
    return lockout


def company_for(user: User, action: Action, asked: str | None) -> str:
    """The company that a page is about: the user's own, or the one that an operator asks for. Raises NotFound."""
    reach = require(user, action)
    company = asked if reach is Scope.ALL else user.company_id
    if company is None or (asked is not None and asked != company):
        raise NotFound("there is no such company")
    return company
