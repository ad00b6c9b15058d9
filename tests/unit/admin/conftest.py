"""The site over a real database with two companies, and browsers that are signed in."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, FormData
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from admin import keys
from admin.app import CONNECTIONS, make_app
from admin.signing import Signing
from loader.directory import apply_directory, parse_directory
from loader.keyring import Keyring
from loader.listfile import columns
from loader.model import Entry, Level, Owner, Pin
from loader.publish import publish
from loader.sections import Admin, Mail
from loader.settings import Settings
from loader.store import People, Store, migrate, open_store

PASSWORD = "a long enough password"
DIRECTORY = b"""
[[company]]
id = "one"
name = "Company One"
authorization_code = [{code = "11", label = "ELEVEN"}, {code = "12", label = "TWELVE"}]
user = [
  {id = "org", name = "Olive Organizer", email = "org@example.com", role = "organizer", organizer = "olive"},
  {id = "adm", name = "Adam Administrator", email = "adm@example.com", role = "administrator", authorization_code = "11"},
  {id = "whole", name = "Wanda Whole", email = "whole@example.com", role = "administrator"},
  {id = "sup", name = "Sue Super", email = "sup@example.com", role = "super-administrator"},
  {id = "coo", name = "Cora Coordinator", email = "coo@example.com", role = "coordinator"},
]
[[company.organizer]]
id = "olive"
name = "Olive Organizer"
email = "org@example.com"
authorization_code = "11"
conference = [{id = "A-1", title = "Weekly call", passcode = "1111", pin_entry = true}]
[[company.organizer]]
id = "otto"
name = "Otto Other"
email = "otto@example.com"
authorization_code = "12"
conference = [{id = "A-2", title = "Otto's call", passcode = "1112"}]
[[company]]
id = "two"
name = "Company Two"
authorization_code = [{code = "21", label = "TWENTY-ONE"}]
user = [{id = "sup2", name = "Tess Super", email = "sup2@example.com", role = "super-administrator"}]
[[company.organizer]]
id = "tina"
name = "Tina Two"
email = "tina@example.com"
authorization_code = "21"
conference = [{id = "B-1", title = "Secret call", passcode = "2222", pin_entry = true}]
[[user]]
id = "ope"
name = "Olga Operator"
email = "ope@example.com"
role = "operator"
"""
USERS = ("org", "adm", "whole", "sup", "coo", "sup2", "ope")
OLIVE = Owner(Level.ORGANIZER, "olive")


def entry(pin: str, first_name: str = "Mike", *, active: bool = True) -> Entry:
    return Entry(Pin(pin), first_name, "Doe", "XYZ", "", "", "Uxbridge", "UK", "", active)


def list_file(*pins: str) -> bytes:
    return "".join([columns.HEADER + "\n", *(f"{pin},Mike,Doe,XYZ,,,Uxbridge,UK,\n" for pin in pins)]).encode()


class Browser:
    """One visitor's browser."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.csrf = ""

    async def get(self, path: str, **kwargs: Any) -> ClientResponse:
        response = await self.client.get(path, allow_redirects=False, **kwargs)
        if response.content_type == "text/html" and (
            found := re.search(r'name="csrf" value="([^"]+)"', await response.text())
        ):
            self.csrf = found[1]
        return response

    async def post(
        self, path: str, fields: dict[str, Any] | list[tuple[str, Any]] | None = None, **kwargs: Any
    ) -> ClientResponse:
        pairs = list(fields.items()) if isinstance(fields, dict) else fields or []
        return await self.client.post(path, data=[("csrf", self.csrf), *pairs], allow_redirects=False, **kwargs)

    async def sign_in(self, name: str, password: str = PASSWORD) -> ClientResponse:
        await self.get("/signin")
        response = await self.post("/signin", {"name": name, "password": password})
        if response.status == 303:
            await self.get("/account")
        return response

    async def upload(self, data: bytes, *owners: str, name: str = "list.csv", policy: bool = True) -> ClientResponse:
        await self.get("/upload")
        form = FormData()
        form.add_field("csrf", self.csrf)
        for owner in owners:
            form.add_field("owner", owner)
        if policy:
            form.add_field("policy", "on")
        form.add_field("file", io.BytesIO(data), filename=name, content_type="text/csv")
        return await self.client.post("/upload", data=form, allow_redirects=False)

    async def staged(self, data: bytes, *owners: str) -> str:
        """Upload; the address of the preview."""
        return (await self.upload(data, *owners or ("organizer:olive",))).headers["Location"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database and its key file, whose users have passwords; made once."""
    import asyncio

    folder = tmp_path_factory.mktemp("site")

    async def make() -> None:
        url = f"sqlite:///{folder / 'rollcall.db'}"
        await migrate(url)
        keyring = Keyring.create(folder / "rollcall.key")
        async with open_store(url) as store:
            await apply_directory(store, parse_directory(DIRECTORY, format="toml"))
            people = People(store)
            signing = fast_signing(store, keyring)
            for user_id in USERS:
                user = await people.user(user_id)
                assert user is not None
                await signing.set_password(user, PASSWORD)
            for owner in (OLIVE, Owner(Level.ORGANIZER, "tina")):
                entries = [entry(f"{number:04}") for number in range(1000, 1003)]
                await publish(store, keyring, owner, entries, by="test", source="import")

    asyncio.run(make())
    return folder


def fast_signing(store: Store, keyring: Keyring) -> Signing:
    """As the real one, with a hash that takes no time."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return Signing(store, People(store), keyring, hasher=hasher)


@pytest.fixture
async def store(made: Path, tmp_path: Path) -> AsyncIterator[Store]:
    for name in ("rollcall.db", "rollcall.key"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    (tmp_path / "rollcall.key").chmod(0o600)
    async with open_store(f"sqlite:///{tmp_path / 'rollcall.db'}") as opened:
        yield opened


@pytest.fixture
def keyring(store: Store, tmp_path: Path) -> Keyring:
    return Keyring.load(tmp_path / "rollcall.key")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(admin=Admin(second_factor=False), mail=Mail(outbox=str(tmp_path / "outbox")))


NewBrowser = Callable[..., Awaitable[Browser]]


@pytest.fixture
async def server(store: Store, keyring: Keyring, settings: Settings) -> AsyncIterator[TestServer]:
    app = make_app(settings, store, keyring, signing=fast_signing(store, keyring))
    assert app[keys.STORE] is store
    server = TestServer(app)
    await server.start_server(**CONNECTIONS)
    yield server
    await server.close()


@pytest.fixture
async def browser(server: TestServer) -> AsyncIterator[NewBrowser]:
    """Opens a browser; signs a user in if one is named."""
    clients: list[TestClient[Any, Any]] = []

    async def new(user: str | None = None) -> Browser:
        clients.append(TestClient(server))
        opened = Browser(clients[-1])
        if user is not None:
            assert (await opened.sign_in(user)).status == 303
        return opened

    yield new
    for client in clients:
        await client.close()
