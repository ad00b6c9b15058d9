"""The web site with 8,000 people: from choosing a file to the confirmation, and looking at the list."""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from aiohttp import ClientResponse, FormData
from aiohttp.test_utils import TestClient, TestServer

from admin.app import make_app
from admin.signing import Signing
from loader.keyring import Keyring
from loader.listfile import export_csv
from loader.sections import Admin, Mail
from loader.settings import Settings
from loader.store import People, open_store
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.workplace import Workplace

_PASSWORD: Final = "four words of the bench"
_LIST: Final = "/lists/organizer/ann"


def run(*, entries: int = 8_000, rounds: int = 5) -> list[Figure]:
    """Times are those of the server and of a client in the same process."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Workplace(Path(folder)), entries, rounds))


@asynccontextmanager
async def signed_in(workplace: Workplace, *, role: str = "organizer") -> AsyncGenerator[Visitor]:
    """The site over this database, and the organizer, who has signed in."""
    workplace.add_user(role)
    settings = Settings(admin=Admin(second_factor=False), mail=Mail(outbox=str(workplace.folder / "outbox")))
    keyring = Keyring.load(workplace.folder / "rollcall.key")
    async with open_store(f"sqlite:///{workplace.database}") as store:
        people_ = People(store)
        user = await people_.user("ann")
        if user is None:
            raise RuntimeError("the user is missing")
        await Signing(store, people_, keyring).set_password(user, _PASSWORD)
        client: TestClient[Any, Any]
        async with TestServer(make_app(settings, store, keyring)) as server, TestClient(server) as client:
            visitor = Visitor(client)
            await visitor.sign_in()
            yield visitor


async def _run(workplace: Workplace, entries: int, rounds: int) -> list[Figure]:
    async with signed_in(workplace) as visitor:
        uploads = [await visitor.upload(export_csv(people(entries, seed=seed))) for seed in range(rounds)]
        pages = {
            "a page of 50 rows": _LIST,
            "the last page": f"{_LIST}?page={entries // 50}",
            "sorted by last name": f"{_LIST}?sort=last_name",
        }
        looks = {name: [await visitor.timed(path) for _ in range(20)] for name, path in pages.items()}
    return [
        Figure(f"{entries:,} people from choosing the file to the confirmation", median(uploads), "s", goal=2.0),
        *(
            Figure(f"{name} of {entries:,} people", 1000 * median(times), "ms", goal=50.0)
            for name, times in looks.items()
        ),
    ]


class Visitor:
    """The organizer's browser."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client
        self._csrf = ""

    async def _page(self, response: ClientResponse) -> str:
        text = await response.text()
        if found := re.search(r'name="csrf" value="([^"]+)"', text):
            self._csrf = found[1]
        return text

    async def sign_in(self) -> None:
        await self._page(await self._client.get("/signin"))
        fields = {"csrf": self._csrf, "name": "ann", "password": _PASSWORD}
        await self._page(await self._client.post("/signin", data=fields))

    async def upload(self, data: bytes) -> float:
        await self._page(await self._client.get("/upload"))
        begun = perf_counter()
        form = FormData({"csrf": self._csrf, "owner": "organizer:ann", "policy": "on"})
        form.add_field("file", io.BytesIO(data), filename="list.csv", content_type="text/csv")
        preview = await self._client.post("/upload", data=form)
        page = await self._page(preview)
        compared = re.findall(r'name="compared" value="([^"]*)"', page)[0].replace("&#34;", '"')
        fields = {"csrf": self._csrf, "compared": compared, "shrink": "on"}
        done = await self._page(await self._client.post(preview.url.path, data=fields))
        took = perf_counter() - begun
        if "Your list is uploaded" not in done:
            raise RuntimeError("the list was not taken")
        return took

    async def timed(self, path: str) -> float:
        """Seconds until a page is there. Raises RuntimeError if it is another than was asked for."""
        begun = perf_counter()
        response = await self._client.get(path)
        await response.text()
        took = perf_counter() - begun
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        return took
