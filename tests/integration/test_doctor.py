"""`rollcall doctor` in an installation as the pages make it, with all that runs."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.integration.conftest import Start
from tests.integration.demo import Demo, environment, folder
from tests.integration.demo import start as start_demo
from tests.integration.processes import PROGRAMS, Installation, wait_until
from tests.integration.site import Site

__all__ = ["environment", "folder", "start_demo"]

PRODUCTION: Final = Path(__file__).parents[2] / "configs" / "production.toml"
OF_THE_MACHINE: Final = {"clock", "disk", "open files", "workers"}
"""What the machine of the tests decides."""


def examined(environment: dict[str, str], folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What is not ok, and not the machine's."""
    done = subprocess.run(
        [PROGRAMS / "rollcall", *arguments, "doctor", "--format", "json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    findings = json.loads(done.stdout)["findings"]
    assert len({finding["looked_at"] for finding in findings}) > 15
    return [one for one in findings if one["state"] != "ok" and one["looked_at"] not in OF_THE_MACHINE]


def test_a_new_installation_is_well(installation: Installation, start: Start, admin: Callable[..., Site]) -> None:
    """With the settings that are shipped, once daemon and web site run and somebody was let in."""
    installation.database.unlink()
    installation.key.unlink()
    password = installation.folder / "smtp-password"
    password.touch(mode=0o600)
    installation.environment["ROLLCALL_CONFIG"] = str(PRODUCTION)
    installation.environment["ROLLCALL_MAIL__PASSWORD_FILE"] = str(password)
    token = installation.set_up()
    installation.put("004127")
    daemon = start().wait_until_ready()
    site = admin()
    site.start()
    wait_until(lambda: site.ready()["ready"])
    assert daemon.admits(token, "1.0", "004127")
    wait_until(lambda: not examined(installation.environment, installation.folder))


def test_the_demo_is_warned_of_what_it_is_for(folder: Path, start_demo: Callable[[], Demo]) -> None:
    """Nobody has a telephone to hand, and links stand in the log."""
    demo = start_demo()
    found = examined(demo.environment | {"ROLLCALL_CONFIG": "configs/demo/rollcall.toml"}, folder)
    assert {(one["looked_at"], one["state"]) for one in found} == {("web site", "warning"), ("mail", "warning")}
