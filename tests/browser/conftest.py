"""The real site and the real daemon as processes, and Debian's Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from admin.signing import Signing
from loader.keyring import Keyring
from loader.store import People, open_store
from tests.integration.processes import PROGRAMS, Daemon, Installation, free_port, wait_until

PASSWORD = "a long enough password"
USERS = ("alicia", "ugo", "sabine", "kenji", "odile", "operator")
CONFIGS = Path(__file__).parents[2] / "configs" / "demo"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Site:
    """An installation with the demo's companies and users, whose services run."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.installation = Installation(
            folder,
            ROLLCALL_ADMIN__PORT=str(port),
            ROLLCALL_ADMIN__OPS_PORT=str(free_port()),
            ROLLCALL_ADMIN__SECOND_FACTOR="false",
            ROLLCALL_MAIL__OUTBOX=str(folder / "outbox"),
            ROLLCALL_ROLL__QUIET="1",
        )
        self.outbox = folder / "outbox"
        self.address = f"http://127.0.0.1:{port}"
        self.installation.rollcall("init")
        self.installation.rollcall("directory", "apply", str(CONFIGS / "directory.toml"))
        for file, owner in (
            ("organizer-alicia", "--organizer=alicia"),
            ("authorization-code-2696367V", "--authorization-code=2696367V"),
            ("company-globaltest", "--company=globaltest"),
        ):
            self.installation.rollcall("import", str(CONFIGS / "lists" / f"{file}.csv"), owner)
        self.token = self.installation.rollcall("switch", "add", "test").strip()
        asyncio.run(self._set_passwords())
        self.daemon: Daemon = self.installation.daemon()
        with (folder / "admin.log").open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "rollcall-admin"], env=self.installation.environment, stdout=log, stderr=log
            )
        self.log = folder / "admin.log"
        self.daemon.wait_until_ready()
        wait_until(lambda: "listening" in self.log.read_text())

    async def _set_passwords(self) -> None:
        async with open_store(f"sqlite:///{self.installation.database}") as store:
            people = People(store)
            signing = Signing(store, people, Keyring.load(self.installation.key))
            for user_id in USERS:
                user = await people.user(user_id)
                assert user is not None
                await signing.set_password(user, PASSWORD)

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log.read_text()
        self.daemon.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.stop()
    log = site.log.read_text() + site.daemon.log
    assert "Traceback" not in log, log
    for secret in (PASSWORD, site.token, "555001", "004127", "271828", "330033", "7784321"):
        assert secret not in log, f"{secret} stands in a log"


@pytest.fixture(scope="session")
def chromium(site: Site) -> Iterator[Browser]:
    """Started after the site: its loop stands in the way of others."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(chromium: Browser, site: Site) -> Iterator[Open]:
    """Opens a window; signs a user in if one is named. No script may fail, and no address may hold a PIN."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []
    addresses: list[str] = []

    def open_(user: str | None = None, *, javascript: bool = True, **options: object) -> Page:
        context = chromium.new_context(
            base_url=site.address,
            java_script_enabled=javascript,
            **({"locale": "en-GB"} | options),  # type: ignore[arg-type]
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda told: problems.append(told.text) if "Content Security Policy" in told.text else None)
        page.on("request", lambda request: addresses.append(request.url))
        if user is not None:
            page.goto("/signin")
            page.fill("#name", user)
            page.fill("#password", PASSWORD)
            page.click("main button.main")
            page.wait_for_url(site.address + "/")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []
    for address in addresses:
        assert not any(pin in address for pin in ("004127", "271828", "314159", "602214", "5550")), address
