"""What the pages of Twilio and jambonz tell an engineer to type works, and what they hand out fails closed."""

import json
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loader.settings import load_settings
from tests.integration.conftest import Start
from tests.integration.processes import free_port
from tests.integration.test_webhook_doors import enabled
from tests.unit.daemon.doors.clouds import CLOUDS, Cloud, secret_file

ROOT = Path(__file__).parents[2]
SWITCHES = ROOT / "configs" / "switches"
PAGES = {"twiml": "twilio", "jambonz": "jambonz"}


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.name)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    chosen: Cloud = request.param
    return chosen


def page(cloud: Cloud) -> str:
    return (ROOT / "docs" / "switches" / f"{PAGES[cloud.name]}.md").read_text()


def test_the_request_to_try_it_with_is_answered_with_a_question(start: Start, cloud: Cloud, tmp_path: Path) -> None:
    port = free_port()
    start(**enabled(cloud, tmp_path, port)).wait_until_ready()
    _, _, trying = page(cloud).partition("Try it\n")
    lines = [line.strip() for line in trying.partition("Then call.")[0].splitlines() if line.startswith("    ")]
    assert lines[-1].startswith("curl ")
    script = "\n".join(["set -e", *lines])
    secret = "twilio-auth-token" if cloud.name == "twiml" else "jambonz-secret"
    script = script.replace(f"/etc/rollcall/{secret}", str(secret_file(tmp_path)))
    script = script.replace(":8473/", f":{port}/").replace(":8474/", f":{port}/")
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, timeout=30)
    assert ("<Gather " if cloud.name == "twiml" else '"gather"') in done.stdout


def test_the_settings_handed_out_are_settings(cloud: Cloud) -> None:
    """And those shown on the page are among them."""
    file = SWITCHES / PAGES[cloud.name] / "rollcall.toml"
    settings = getattr(load_settings(file, {}).doors, cloud.name)
    assert settings.enabled
    assert settings.url == cloud.url
    handed = tomllib.loads(file.read_text())["doors"][cloud.name]
    shown = page(cloud).partition(f"    [doors.{cloud.name}]\n")[2].partition("\n\n")[0]
    lines = tomllib.loads("\n".join(line.strip() for line in shown.splitlines()))
    assert lines.items() <= handed.items()


def test_the_fallback_says_an_excuse_and_hangs_up() -> None:
    *spoken, hangup = ET.parse(SWITCHES / "twilio" / "fallback.xml").getroot()
    assert [verb.tag for verb in spoken] == ["Say"] * 4
    assert all(verb.text for verb in spoken)
    assert {verb.get("language") for verb in spoken} == {"en-US", "fr-FR", "de-DE", "ja-JP"}
    assert hangup.tag == "Hangup"


def test_the_application_asks_and_reports_where_the_door_is() -> None:
    application = json.loads((SWITCHES / "jambonz" / "application.json").read_text())
    url = tomllib.loads((SWITCHES / "jambonz" / "rollcall.toml").read_text())["doors"]["jambonz"]["url"]
    assert application["call_hook"] == {"url": url, "method": "POST"}
    assert application["call_status_hook"] == {"url": f"{url}/status", "method": "POST"}


def test_the_proxy_passes_on_the_doors_and_nothing_else() -> None:
    text = (SWITCHES / "twilio" / "Caddyfile").read_text()
    assert "path /twiml /twiml/status\n" in text
    assert "path /jambonz /jambonz/status\n" in text
    assert text.count("method POST") == text.count("reverse_proxy ") == 2
    assert text.rindex("handle {") < text.rindex("respond 404")
    assert "127.0.0.1:8473" in text
    assert "127.0.0.1:8474" in text
    assert "8470" not in text
    assert "9470" not in text
