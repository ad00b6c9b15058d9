"""The alerts and the dashboard ask for metrics that are there, and each alert is raised when it should be, and only then."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry

from admin.metrics import Metrics as SiteMetrics
from daemon.metrics import Metrics as DaemonMetrics
from tests.integration.programs import program

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "configs" / "prometheus"
DASHBOARD = ROOT / "configs" / "grafana" / "rollcall.json"
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
ENDINGS: Final = {
    "counter": ["_total"],
    "gauge": [""],
    "histogram": ["_bucket", "_count", "_sum"],
    "info": ["_info"],
}
D, S = 'instance="d"', 'instance="s"'
DAEMON, SITE = f'job="rollcall-daemon",{D}', f'job="rollcall-admin",{S}'

# Each alert: series over half an hour that raise it, and how they are when all is well. Values as promtool writes them:
# the first one, what is added each minute, and how often.
CASES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "RollcallDaemonDown": {f"up{{{DAEMON}}}": ("0x30", "1x30")},
    "RollcallNothingLoaded": {f"rollcall_index_conferences{{{D}}}": ("0x30", "3x30")},
    "RollcallNotAnswering": {
        f'rollcall_http_requests_refused_total{{{D},door="http",status="503"}}': ("1+1x30", "7x30")
    },
    "RollcallAnswersSlow": {
        f'rollcall_verification_seconds_bucket{{{D},door="http",le="0.01"}}': ("0+90x30", "0+100x30"),
        f'rollcall_verification_seconds_bucket{{{D},door="http",le="0.02"}}': ("0+100x30", "0+100x30"),
        f'rollcall_verification_seconds_bucket{{{D},door="http",le="+Inf"}}': ("0+100x30", "0+100x30"),
    },
    "RollcallWrongToken": {f'rollcall_http_requests_refused_total{{{D},door="http",status="401"}}': ("1+1x30", "7x30")},
    "RollcallTokenElsewhere": {f'rollcall_tokens_refused_total{{{D},door="http",why="address"}}': ("0x28 1x2", "1x30")},
    "RollcallSwitchTooOften": {
        f'rollcall_http_requests_refused_total{{{D},door="http",status="429"}}': ("1+1x30", "7x30")
    },
    "RollcallQuestionsDropped": {
        f'rollcall_questions_dropped_total{{{D},door="radius",why="unsigned"}}': ("1+1x30", "7x30"),
        f'rollcall_questions_dropped_total{{{D},door="fastagi",why="hung_up"}}': ("1+1x30", "1+1x30"),
    },
    "RollcallRestarting": {f"process_start_time_seconds{{{DAEMON}}}": ("1+60x30", "1x30")},
    "RollcallWorkerRestarted": {f"rollcall_workers_restarted_total{{{D}}}": ("0x28 1x2", "1x30")},
    "RollcallFilesRunOut": {
        f"process_open_fds{{{DAEMON}}}": ("900x30", "100x30"),
        f"process_max_fds{{{DAEMON}}}": ("1024x30", "1024x30"),
    },
    "RollcallDatabaseDown": {f"rollcall_database_up{{{D}}}": ("0x30", "1x30")},
    "RollcallListNotApplied": {f"rollcall_lists_not_applied{{{D}}}": ("1x30", "0x30")},
    "RollcallChangesLate": {
        f'rollcall_commit_to_force_seconds_bucket{{{D},le="1"}}': ("0+1x30", "0+2x30"),
        f'rollcall_commit_to_force_seconds_bucket{{{D},le="2"}}': ("0+2x30", "0+2x30"),
        f'rollcall_commit_to_force_seconds_bucket{{{D},le="+Inf"}}': ("0+2x30", "0+2x30"),
    },
    "RollcallDaemonBehind": {
        f"rollcall_position_applied{{{D}}}": ("5x30", "7x30"),
        'rollcall_position_applied{instance="another"}': ("7x30", "7x30"),
    },
    "RollcallSettingsRefused": {f"rollcall_settings_failures_total{{{D}}}": ("0x28 1x2", "1x30")},
    "RollcallRollsLost": {f"rollcall_roll_events_dropped_total{{{D}}}": ("0x28 40x2", "40x30")},
    "RollcallJournalNotWritten": {f"rollcall_roll_events_waiting{{{D}}}": ("5x30", "0x30")},
    "RollcallRollsWaiting": {f"rollcall_roll_journal_bytes{{{D}}}": ("200000000x30", "8000000x30")},
    "RollcallRollsNotKept": {f"rollcall_rolls_kept{{{D}}}": ("0x30", "1x30")},
    "RollcallCertificateEnds": {
        f'rollcall_certificate_expires_timestamp_seconds{{{D},port="daemon"}}': ("86400x30", "8640000x30")
    },
    "RollcallHandshakesRefused": {
        f'rollcall_handshakes_refused_total{{{D},port="daemon",why="certificate"}}': ("0+1x30", "3x30")
    },
    "RollcallWebhooksGivenUp": {f'rollcall_webhooks_total{{{D},result="given_up"}}': ("0x20 3x10", "3x30")},
    "RollcallSwitchLocked": {f'rollcall_throttle_locked_total{{{D},kind="switch"}}': ("0x25 1x5", "1x30")},
    "RollcallConferenceLocked": {f'rollcall_throttle_locked_total{{{D},kind="conference"}}': ("0x25 1x5", "1x30")},
    "RollcallManyCallersLocked": {f'rollcall_throttle_locked_total{{{D},kind="caller"}}': ("0+3x30", "0+1x30")},
    "RollcallGuessing": {
        f'rollcall_verifications_total{{{D},door="http",result="unknown_pin"}}': ("0+240x30", "0+60x30"),
        f'rollcall_verifications_total{{{D},door="http",result="unknown_passcode"}}': ("0+240x30", "0+60x30"),
    },
    "RollcallLockedOut": {
        f'rollcall_throttle_refused_total{{{D},kind="caller"}}': ("0+20x30", "0+10x30"),
        f'rollcall_throttle_refused_total{{{D},kind="conference"}}': ("0+20x30", "0+1x30"),
        f'rollcall_verifications_total{{{D},door="http",result="accepted"}}': ("0+100x30", "0+100x30"),
    },
    "RollcallThrottleForgets": {f'rollcall_throttle_evicted_total{{{D},kind="caller"}}': ("0x25 5x5", "5x30")},
    "RollcallSiteDown": {f"up{{{SITE}}}": ("0x30", "1x30")},
    "RollcallSiteDatabaseDown": {f"rollcall_admin_database_up{{{S}}}": ("0x30", "1x30")},
    "RollcallPagesBroken": {
        f'rollcall_admin_page_seconds_count{{{S},page="/rolls",status="500"}}': ("_x28 1x2", "_x0"),
        f'rollcall_admin_page_seconds_count{{{S},page="/",status="500"}}': ("3x30", "3x30"),
    },
    "RollcallSignInsGuessed": {
        f'rollcall_admin_sign_ins_total{{{S},result="refused"}}': ("0+20x30", "0+2x30"),
        f'rollcall_admin_sign_ins_total{{{S},result="slowed"}}': ("0+20x30", "0x30"),
    },
    "RollcallMailFails": {f'rollcall_admin_mails_total{{{S},mail="roll",result="failed"}}': ("0x20 1x10", "1x30")},
}


def metrics(*registries: CollectorRegistry) -> set[str]:
    """The names of all that is told, as Prometheus asks for them."""
    return {
        family.name + ending
        for registry in registries
        for family in registry.collect()
        for ending in ENDINGS[family.type]
    }


def asked(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return set(re.findall(r"\b(?:rollcall|process)_[a-z_]+", re.sub(r'"[^"]*"', "", expression)))


def expressions() -> list[str]:
    """All of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([program("promtool"), *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_metric_that_is_asked_for_is_there() -> None:
    known = metrics(DaemonMetrics("0").registry, SiteMetrics("0").registry)
    wanted = set().union(*(asked(expression) for expression in (*(rule["expr"] for rule in RULES), *expressions())))
    assert len(wanted) > 20
    assert wanted <= known, wanted - known


def test_each_alert_is_told_of_to_operators_and_no_other() -> None:
    """By its name, with how urgent it is, in the same order."""
    text = (ROOT / "docs" / "operator.md").read_text()
    told = re.findall(r"^\| `(Rollcall\w+)` +\| (\w+) ", text, re.MULTILINE)
    assert told == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]
    assert all(rule["annotations"]["summary"] for rule in RULES)


def test_every_panel_of_the_dashboard_asks_the_source_that_is_chosen() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${source}"}
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["source"]


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_prometheus_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """As rules, since it checks those; Grafana puts the interval in."""
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


def group(name: str, series: Iterable[tuple[str, str]], raised: int, alerts: str) -> dict[str, Any]:
    """A test of promtool's: after half an hour of these series so many of these alerts are raised."""
    samples = [{"labels": "{}", "value": raised}] if raised else []
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertstate="firing",alertname=~"{alerts}"}})',
                "eval_time": "30m",
                "exp_samples": samples,
            }
        ],
    }


def test_each_alert_is_raised_when_it_should_be_and_only_then(tmp_path: Path) -> None:
    """Each by its own series and no other by them, and none of all while all is well."""
    assert list(CASES) == [rule["alert"] for rule in RULES]
    tests = []
    for alert, series in CASES.items():
        bad = [(one, values[0]) for one, values in series.items()]
        tests += [group(alert, bad, 1, alert), group(f"{alert} alone", bad, 1, ".*")]
    quiet = [(one, values[1]) for series in CASES.values() for one, values in series.items()]
    tests.append(group("all is well", quiet, 0, ".*"))
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(PROMETHEUS / "rules.yml")], "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", file)


@pytest.mark.parametrize("alert", ["RollcallDaemonDown", "RollcallSwitchLocked"])
def test_what_wakes_somebody_says_which_daemon(alert: str) -> None:
    (rule,) = [rule for rule in RULES if rule["alert"] == alert]
    assert rule["labels"]["severity"] == "page"
    assert "$labels.instance" in rule["annotations"]["summary"]
