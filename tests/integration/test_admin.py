"""The web site as a process."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.processes import Installation, wait_until
from tests.integration.site import Site, Visitor, add_user


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


def peak(site: Site) -> int:
    """Bytes of memory that the site had at most since it was last asked."""
    process = Path(f"/proc/{site.process.pid}")
    told = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    (process / "clear_refs").write_text("5")
    return int(told.split()[1]) * 1024


@pytest.mark.parametrize(("size", "chunked"), [(1 << 30, False), (1 << 28, True)], ids=["by its length", "in chunks"])
def test_a_file_of_a_gigabyte_is_refused_kindly_and_takes_no_room(
    admin: Callable[..., Site], installation: Installation, size: int, chunked: bool
) -> None:
    """Whoever sent all of it reads the page that says so, on a connection that nobody has cut off. Others go on
    meanwhile, and what was sent is nowhere.
    """
    add_user(installation)
    site = admin().start().wait_until_ready()
    visitor = Visitor(site.port, timeout=60).sign_in()
    visitor.get("/upload")
    before = sum(file.stat().st_size for file in installation.folder.rglob("*") if file.is_file())
    peak(site)
    least = peak(site)
    answer = visitor.pour(size, chunked=chunked)
    assert answer.status == 413
    assert b"at most 1,000,000 are allowed" in answer.body
    assert peak(site) - least < 16 << 20
    after = sum(file.stat().st_size for file in installation.folder.rglob("*") if file.is_file())
    assert after - before < 1 << 20
    assert visitor.get("/account").status == 200
    assert "Traceback" not in site.log
