"""Whether all is as it should be: `doctor`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import msgspec

from loader.cli.exits import DONE, REFUSED
from loader.cli.terminal import say
from loader.doctor import Finding, State, examine
from loader.errors import SettingsError
from loader.settings import load_settings


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit status. Settings that are wrong are a finding as any other."""
    findings = asyncio.run(_findings(args))
    is_well = all(finding.state is not State.WRONG for finding in findings)
    if args.format == "json":
        say(json.dumps({"ok": is_well, "findings": msgspec.to_builtins(findings)}, ensure_ascii=False))
    else:
        for finding in findings:
            say(_line(finding))
    return DONE if is_well else REFUSED


async def _findings(args: argparse.Namespace) -> list[Finding]:
    try:
        settings = load_settings(args.config)
    except SettingsError as error:
        return [
            Finding("settings", State.WRONG, problem, "correct it: no program starts with it")
            for problem in error.problems
        ]
    return [finding async for finding in examine(settings)]


def _line(finding: Finding) -> str:
    if not sys.stdout.isatty():
        return f"{finding.state}\t{finding.looked_at}\t{finding.found}\t{finding.do}".rstrip()
    return f"{finding.state:<9}{finding.looked_at}: {finding.found}" + (f". {finding.do}" if finding.do else "")
