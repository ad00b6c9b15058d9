"""The web site as a process."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.processes import Installation, wait_until
from tests.integration.site import Site


def test_the_site_tells_how_it_is_and_stops_in_order(admin: Callable[..., Site]) -> None:
    site = admin()
    site.start()
    wait_until(lambda: site.ready()["ready"])
    assert site.get("/healthz", ops=True) == (200, b'{"up": true}')
    assert site.get("/signin")[0] == 200
    metrics = site.get("/metrics", ops=True)[1].decode()
    assert 'rollcall_admin_page_seconds_count{page="/signin",status="200"} 1.0' in metrics
    assert "rollcall_admin_database_up 1.0" in metrics
    site.process.terminate()
    assert site.process.wait(10) == 0
    assert "Traceback" not in site.log


def test_without_its_database_it_says_so_plainly_and_comes_back_by_itself(
    admin: Callable[..., Site], installation: Installation
) -> None:
    site = admin()
    site.start()
    wait_until(lambda: site.ready()["ready"])
    away = installation.folder / "away"
    away.mkdir()
    for part in installation.folder.glob("rollcall.db*"):
        part.rename(away / part.name)
    assert site.get("/readyz", ops=True)[0] == 503
    assert site.ready()["database"] == "down"
    status, page = site.get("/signin")
    assert status == 503
    assert b"database" in page
    for part in away.iterdir():
        part.rename(installation.folder / part.name)
    assert site.ready()["ready"]
    assert site.get("/signin")[0] == 200


@pytest.mark.parametrize("setting", ["PORT", "OPS_PORT"])
def test_a_port_in_use_is_told_plainly(admin: Callable[..., Site], setting: str) -> None:
    site = admin()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.start(**{f"ROLLCALL_ADMIN__{setting}": str(port)})
        assert site.process.wait(10) == 1
    assert f"admin.{setting.lower()}: port {port} on 127.0.0.1 is in use" in site.log
    assert "Traceback" not in site.log


def test_wrong_settings_are_told_with_their_line(admin: Callable[..., Site], tmp_path: Path) -> None:
    config = tmp_path / "rollcall.toml"
    config.write_text("[admin]\nidle_timeout = 1\n")
    site = admin("--config", str(config))
    site.start()
    assert site.process.wait(10) == 2
    assert f"{config}, line 2: admin.idle_timeout" in site.log
