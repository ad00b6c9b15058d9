"""What Rollcall is measured beside: aiohttp on uvloop, a handler that answers a constant, and nothing else."""

from __future__ import annotations

import json
import sys

import uvloop
from aiohttp import web

# As long as the daemon's answer to the same question.
ANSWER = json.dumps(
    {
        "result": "accepted",
        "pin_entry": True,
        "verification_id": "9f2c41d07a55e1b3-1f",
        "participant": {
            "first_name": "Mike",
            "last_name": "Doe-17",
            "company": "Example Works GmbH",
            "phone": "+1 555 0117 0017",
            "email": "doe.17@example.com",
            "city": "Uxbridge",
            "state_country": "UK",
            "other": "",
        },
        "list": {"level": "organizer", "revision": 12},
        "conference": {"id": "C-1", "title": "Bench", "organizer": "ann"},
    },
    separators=(",", ":"),
).encode()


async def answer(_request: web.Request) -> web.Response:
    """The constant."""
    return web.Response(body=ANSWER, content_type="application/json")


def main() -> None:
    """Serve on the port that the command line names, until SIGTERM."""
    app = web.Application()
    app.router.add_post("/v1/verify", answer)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=lambda _: None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
