"""Which settings can change while the daemon runs."""

import msgspec
import pytest

from daemon.rereading import needing_restart
from loader.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("DATABASE__URL", "sqlite:///other.db", ["database.url"]),
        ("DAEMON__PORT", "1", ["daemon.port"]),
        ("DAEMON__AT_ONCE", "false", ["daemon.at_once"]),
        ("DAEMON__POLL_INTERVAL", "0.2", []),
        ("DAEMON__STALE_AFTER", "7", []),
        ("DAEMON__DRAIN_TIMEOUT", "7", []),
        ("DOORS__FASTAGI__ENABLED", "true", ["doors.fastagi.enabled"]),
        ("DOORS__TWIML__PROMPTS__PIN", "Your PIN?", ["doors.twiml.prompts.pin"]),
        ("KEY__FILE", "other.key", []),
        ("LOGS__LEVEL", "debug", []),
        ("ADMIN__PORT", "1", []),
        ("LISTS__GUESSABLE_SHARE", "0.5", []),
    ],
)
def test_what_is_read_only_at_the_start_is_named(variable: str, value: str, named: list[str]) -> None:
    new = load_settings(environment={f"ROLLCALL_{variable}": value})
    assert new != Settings()
    assert needing_restart(Settings(), new) == named


def test_several_are_named_in_order_and_none_when_nothing_changed() -> None:
    daemon = msgspec.structs.replace(Settings().daemon, host="::1", ops_port=1)
    assert needing_restart(Settings(), Settings(daemon=daemon)) == ["daemon.host", "daemon.ops_port"]
    assert needing_restart(Settings(), Settings()) == []
