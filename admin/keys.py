"""What the pages are handed by the composition root."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from admin.invitations import Inviter
from admin.lists import Lists
from admin.mail import Mailer
from admin.metrics import Metrics
from admin.oidc import OpenIdConnect
from admin.passwords import Passwords
from admin.post import Post
from admin.roll_mail import RollSender
from admin.rolls import Rolls
from admin.signing import Signing
from admin.turns import Turns
from admin.watching import Watching
from loader.keyring import Keyring
from loader.settings import Settings
from loader.store import Desk, People, Store
from loader.store.invitations import Invitations
from loader.store.lockouts import Lockouts
from loader.store.roll_mail import RollMail
from loader.store.rolls import RollBook

SETTINGS: Final = web.AppKey("settings", Settings)
STORE: Final = web.AppKey("store", Store)
PEOPLE: Final = web.AppKey("people", People)
DESK: Final = web.AppKey("desk", Desk)
KEYRING: Final = web.AppKey("keyring", Keyring)
LISTS: Final = web.AppKey("lists", Lists)
LOCKOUTS: Final = web.AppKey("lockouts", Lockouts)
PASSWORDS: Final = web.AppKey("passwords", Passwords)
HEAVY: Final = web.AppKey("heavy", Turns)
"""For what takes long, or much memory."""
SIGNING: Final = web.AppKey("signing", Signing)
POST: Final = web.AppKey("post", Post)
MAILER: Final = web.AppKey("mailer", Mailer)
INVITATIONS: Final = web.AppKey("invitations", Invitations)
INVITER: Final = web.AppKey("inviter", Inviter)
ROLL_MAIL: Final = web.AppKey("roll_mail", RollMail)
ROLL_SENDER: Final = web.AppKey("roll_sender", RollSender)
OIDC: Final = web.AppKey("oidc", OpenIdConnect)
METRICS: Final = web.AppKey("metrics", Metrics)
ROLL_BOOK: Final = web.AppKey("roll_book", RollBook)
ROLLS: Final = web.AppKey("rolls", Rolls)
WATCHING: Final = web.AppKey("watching", Watching)
