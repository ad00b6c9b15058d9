"""What the pages tell a reader to type works as it is written there."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from urllib.request import Request, urlopen

import msgspec
import pytest
from msgspec.structs import asdict, replace

from tests.integration.demo import Demo, environment, folder, start

__all__ = ["environment", "folder", "start"]

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    """A page for one of the readers."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def blocks(path: str, first_word: str) -> list[str]:
    """The indented lines of a page that begin with this word, with the lines that they are continued in."""
    text = (ROOT / path).read_text()
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
    printed = demo.ask()
    assert printed | {"verification_id": answer["verification_id"]} == answer
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
    assert json.loads(paste(demo, curl.replace("004127", "004128")))["result"] == "accepted"
    assert demo.end(signal.SIGTERM) == 0


def test_what_the_switch_engineer_tries_is_answered(demo: Demo) -> None:
    token = (demo.folder / "var" / "demo-token").read_text().strip()
    commands = [*blocks("docs/switch-engineer.md", "curl"), *blocks("docs/switches/text.md", "curl")]
    assert len(commands) >= 5
    for command in commands:
        answer = paste(demo, command, TOKEN=token)
        assert answer.startswith(('{"result":"', "accepted|", "rejected|", "result=accepted&", '{"id":"'))
    ask_as_asterisk_does(demo, token)
    assert demo.end(signal.SIGTERM) == 0


def ask_as_asterisk_does(demo: Demo, token: str) -> None:
    """What the dialplan sends with CURL() is answered, and what it takes from the answers is there."""
    dialplan = (ROOT / "configs" / "switches" / "text" / "extensions.conf").read_text()
    (question,) = re.findall(r"Set\(QUESTION=(.+)\)$", dialplan, re.MULTILINE)
    keyed = {"PASSCODE": "7784321", "PIN": "004127", "UNIQUEID": "1732456800.17", "CALLERID(num)": "%2B15550100"}
    for name, value in keyed.items():
        question = question.replace(f"${{URIENCODE(${{{name}}})}}", value)
    assert "$" not in question
    port = demo.environment["ROLLCALL_DAEMON__PORT"]
    answers = {}
    for path in re.findall(r"CURL\(\$\{ROLLCALL\}([^,]+),\$\{QUESTION\}\)", dialplan):
        request = Request(
            f"http://127.0.0.1:{port}{path}", data=question.encode(), headers={"Authorization": f"Bearer {token}"}
        )
        with urlopen(request, timeout=10) as response:
            answers[path] = response.read().decode()
    expected = {"RESULT": "accepted", "FIRST_NAME": "Mike", "LAST_NAME": "Doe", "CONFERENCE": "C-1001"}

    fields = answers["/v1/verify.txt"].split("|")
    cut = {
        name: fields[int(number) - 1] for name, number in re.findall(r"Set\((\w+)=\$\{CUT\(ANSWER,\|,(\d)\)", dialplan)
    }
    assert cut.pop("REASON") == "Mike"  # which is looked at only where the result is "rejected"
    assert cut == expected

    form = dict(parse_qsl(answers["/v1/verify.txt?style=form"], strict_parsing=True))
    taken = {name: form.get(key) for name, key in re.findall(r"Set\((\w+)=\$\{HASH\(ANSWER,(\w+)\)", dialplan)}
    assert taken == expected | {"REASON": None}

    decoded = {}
    for name, keys in re.findall(r"Set\((\w+)=\$\{JSON_DECODE\(ANSWER,([\w.]+)\)", dialplan):
        value = json.loads(answers["/v1/verify"])
        for key in keys.split("."):
            value = value.get(key)
        decoded[name] = value
    assert decoded == expected | {"REASON": None}


def test_every_door_is_told_to_the_operator_with_its_port() -> None:
    from loader.settings import Settings

    doors = Settings().doors
    told = dict(re.findall(r"^\| `\[doors\.(\w+)\]` *\| \w+ (\d+)", page("operator"), re.MULTILINE))
    assert told == {name: str(getattr(doors, name).port) for name in doors.__struct_fields__}


def test_every_setting_of_daemon_and_tool_is_told_to_the_operator_with_its_default() -> None:
    from loader.settings import Settings

    sections = ("database", "key", "daemon", "lists", "roll", "throttle", "logs")
    told = {
        name: default
        for name, default in re.findall(r"^\| `(\w+\.\w+)` +\| `(.*?)` ", page("operator"), re.MULTILINE)
        if name.partition(".")[0] in sections
    }
    there_are = {
        f"{section}.{name}": default if isinstance(default, str) else json.dumps(default)
        for section in sections
        for name, default in asdict(getattr(Settings(), section)).items()
        if not isinstance(default, msgspec.Struct)  # a section of its own, such as TLS
    }
    assert told == there_are


def test_what_is_read_again_on_sighup_is_told_to_the_operator() -> None:
    from daemon.rereading import needing_restart
    from loader.settings import Settings

    told = dict(re.findall(r"^\| `(\w+\.\w+)` .*\| (yes|no) \|$", page("operator"), re.MULTILINE))
    assert {name.partition(".")[0] for name in told} == {"database", "key", "daemon", "roll", "throttle", "logs"}
    old = Settings()
    for name, again in told.items():
        section, key = name.split(".")
        new = replace(old, **{section: replace(getattr(old, section), **{key: "another"})})
        assert needing_restart(old, new) == ([] if again == "yes" else [name])


def test_every_field_of_readyz_is_told_to_the_operator() -> None:
    """In the table, and those that are always there in the example."""
    from daemon.health import Health, Readiness

    for name in Readiness.__struct_fields__:
        assert re.search(rf"^\| `{name}` ", page("operator"), re.MULTILINE), name
    (shown,) = blocks("docs/operator.md", "{")
    health = Health(stale_after=5)
    health.looked(0.0)
    assert json.loads(shown).keys() == json.loads(msgspec.json.encode(health.readiness(0.0))).keys()


def test_every_event_in_the_daemons_log_is_told_to_the_operator() -> None:
    for module in (ROOT / "daemon").rglob("*.py"):
        for event in re.findall(r"\blog\.\w+\(\s*\"(\w+)\"", module.read_text()):
            assert f"`{event}`" in page("operator"), event


def test_every_problem_of_a_list_is_told_to_the_organizer() -> None:
    from loader.listfile.problems import Code

    for code in Code:
        assert f"`{code.value}`" in page("organizer"), code


def test_every_reason_and_every_error_is_told_to_the_switch_engineer() -> None:
    from daemon.doors.problem import TITLES
    from loader.index import Reason

    for reason in Reason:
        assert f"`{reason.value}`" in page("switch-engineer"), reason
    for status in TITLES:
        assert re.search(rf"^\| {status} ", page("switch-engineer"), re.MULTILINE), status


def test_every_metric_is_told_to_the_operator() -> None:
    from admin.metrics import Metrics as SiteMetrics
    from daemon.metrics import Metrics
    from daemon.shares import Shares

    metrics = Metrics("0", Shares(2))
    metrics.tally("http")
    told = set(re.findall(r"^\| `(rollcall_\w+)` ", page("operator"), re.MULTILINE))
    suffixes = {"counter": "_total", "info": "_info"}
    collected = [*metrics.registry.collect(), *SiteMetrics("0").registry.collect()]
    families = [family for family in collected if family.name.startswith("rollcall_")]
    assert told == {family.name + suffixes.get(family.type, "") for family in families}
