"""What the pages tell a reader to type works as it is written there."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.demo import Demo, environment, folder, start

__all__ = ["environment", "folder", "start"]

ROOT = Path(__file__).parents[2]


def blocks(page: str, first_word: str) -> list[str]:
    """The indented lines of a page that begin with this word, with the lines that they are continued in."""
    text = (ROOT / page).read_text()
    return [line.strip() for line in re.findall(rf"^    ({re.escape(first_word)}(?:.*\\\n)*.*)$", text, re.MULTILINE)]


def paste(demo: Demo, command: str, **variables: str) -> str:
    """What a command prints in the demo's folder, asked at the demo's port."""
    command = command.replace("127.0.0.1:8470", f"127.0.0.1:{demo.environment['ROLLCALL_DAEMON__PORT']}")
    done = subprocess.run(
        command,
        shell=True,
        check=True,
        cwd=demo.folder,
        env=demo.environment | variables,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout


def shape(value: Any) -> Any:
    """The names in an answer, whatever their values."""
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else None


@pytest.fixture
def demo(folder: Path, start: Callable[[], Demo]) -> Demo:
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return start()


def test_the_readme_can_be_followed_to_the_letter(demo: Demo) -> None:
    """The curl, the answer that is shown, an edited PIN, the import, the curl again."""
    assert blocks("README.md", "make run") == ["make run"]
    (curl,) = blocks("README.md", "curl")
    (rollcall,) = blocks("README.md", ".venv/bin/rollcall")
    answer = json.loads(paste(demo, curl))
    (shown,) = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    promised = json.loads(shown)
    assert shape(promised) == shape(answer)
    del promised["verification_id"], answer["verification_id"]
    assert promised == answer

    file = demo.folder / "configs" / "demo" / "lists" / "organizer-alicia.csv"
    file.write_text(file.read_text().replace("004127", "004128"))
    assert "revision 2" in paste(demo, rollcall)
    for _ in range(100):
        answer = json.loads(paste(demo, curl))
        if answer["result"] == "rejected":
            break
    assert answer["reason"] == "unknown_pin"
    assert demo.end(signal.SIGTERM) == 0


def test_what_the_switch_engineer_tries_is_answered(demo: Demo) -> None:
    token = (demo.folder / "var" / "demo-token").read_text().strip()
    commands = blocks("docs/switch-engineer.md", "curl")
    assert len(commands) >= 2
    for command in commands:
        answer = paste(demo, command, TOKEN=token)
        assert answer.startswith(('{"result":"', "accepted|", "rejected|", '{"id":"'))


def test_every_link_of_every_page_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_setting_is_told_to_the_operator(tmp_path: Path) -> None:
    """The file with every setting holds all of them, and nothing that is none."""
    from loader.settings import Settings, load_settings

    file = shutil.copy(ROOT / "configs" / "production.toml", tmp_path)
    load_settings(Path(file), {})
    text = Path(file).read_text()
    for section in Settings.__struct_fields__:
        assert f"[{section}]" in text
        for name in getattr(Settings(), section).__struct_fields__:
            assert re.search(rf"^{name} = ", text, re.MULTILINE), f"{section}.{name}"


def test_every_metric_is_told_to_the_operator() -> None:
    from daemon.metrics import Metrics

    metrics = Metrics("0")
    metrics.tally("http")
    page = (ROOT / "docs" / "operator.md").read_text()
    for family in metrics.registry.collect():
        if family.name.startswith("rollcall_"):
            assert f"`{family.name}" in page, family.name
