"""What the pages are handed by the composition root."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from admin.lists import Lists
from admin.mail import Mailer
from admin.metrics import Metrics
from admin.oidc import OpenIdConnect
from admin.signing import Signing
from loader.keyring import Keyring
from loader.settings import Settings
from loader.store import Desk, People, Store

SETTINGS: Final = web.AppKey("settings", Settings)
STORE: Final = web.AppKey("store", Store)
PEOPLE: Final = web.AppKey("people", People)
DESK: Final = web.AppKey("desk", Desk)
KEYRING: Final = web.AppKey("keyring", Keyring)
LISTS: Final = web.AppKey("lists", Lists)
SIGNING: Final = web.AppKey("signing", Signing)
MAILER: Final = web.AppKey("mailer", Mailer)
OIDC: Final = web.AppKey("oidc", OpenIdConnect)
METRICS: Final = web.AppKey("metrics", Metrics)
