"""An installation, and daemons that do not outlive their test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.processes import Daemon, Installation
from tests.integration.site import Site, add_user

Start = Callable[..., Daemon]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, str]:
    """An installation that is set up and has one list, made once and copied for each test; and its switch's token."""
    installation = Installation(tmp_path_factory.mktemp("made"))
    token = installation.set_up()
    installation.put("004127", "1234")
    return installation, token


@pytest.fixture
def installation(made: tuple[Installation, str], tmp_path: Path) -> Installation:
    shutil.copy(made[0].database, tmp_path)
    shutil.copy(made[0].key, tmp_path)
    return Installation(tmp_path)


@pytest.fixture
def token(made: tuple[Installation, str]) -> str:
    """The token of a switch."""
    return made[1]


@pytest.fixture
def user(installation: Installation) -> None:
    """Somebody who can sign in to the site."""
    add_user(installation)


@pytest.fixture
def admin(installation: Installation) -> Iterator[Callable[..., Site]]:
    """Makes a web site of the installation; nothing is started yet."""
    made: list[Site] = []

    def make(*arguments: str) -> Site:
        made.append(Site(installation, *arguments))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def start(installation: Installation) -> Iterator[Start]:
    """Starts a daemon of the installation."""
    daemons: list[Daemon] = []

    def start(*arguments: str, **settings: str) -> Daemon:
        daemons.append(installation.daemon(*arguments, **settings))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.kill()
