"""What questions are answered from: the index and the tokens in force. Swapped as a whole, never edited."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from daemon.rate_limit import RateLimit
from loader.index import Index
from loader.model import Switch, SwitchToken
from loader.networks import Networks


class KnownToken:
    """A token in force: whose it is, and what has to hold beside it.

    Its end is here, and not only in the database: a token expires also while the database is gone.
    """

    __slots__ = ("expires_at", "fingerprint", "limit", "networks", "suffices", "switch", "told")

    def __init__(self, switch: str, token: SwitchToken, networks: Networks | None, limit: RateLimit | None) -> None:
        self.switch = switch
        self.fingerprint = token.fingerprint
        self.expires_at = token.expires_at
        self.networks = networks
        self.limit = limit
        self.suffices = token.expires_at is None and networks is None and limit is None
        """Whether nothing else has to hold."""
        self.told: dict[str, float] = {}
        """When each event about it was logged last, as `time.monotonic` tells it."""


class Live:
    """The index in force, and the tokens of switches by their hashes; None until they are loaded.

    Who asks takes the index anew in each turn of the event loop: the memory of a list that was replaced is given back
    between two turns. `switch_rate` is how many requests a second a switch may make that has no rate of its own: 0 for
    any number; `limit` makes what counts them, for a switch of this ID.
    """

    __slots__ = ("_limit", "_limits", "_switch_rate", "index", "tokens")

    def __init__(
        self, switch_rate: int = 0, limit: Callable[[str, int], RateLimit] = lambda _switch_id, rate: RateLimit(rate)
    ) -> None:
        self._switch_rate = switch_rate
        self._limit = limit
        self._limits: dict[str, RateLimit] = {}
        self.index: Index | None = None
        self.tokens: dict[bytes, KnownToken] | None = None

    def swap(self, index: Index) -> None:
        """Put the next index in force: one assignment, so that a lookup sees the last or the next."""
        self.index = index

    def swap_switches(self, switches: Iterable[Switch]) -> None:
        """Put the switches' tokens in force, and no others. The tokens of one switch share its rate."""
        limits: dict[str, RateLimit] = {}
        tokens: dict[bytes, KnownToken] = {}
        for switch in switches:
            rate = self._switch_rate if switch.rate is None else switch.rate
            limit = self._limits.get(switch.id)
            if limit is None or limit.rate != rate:
                limit = self._limit(switch.id, rate) if rate else None
            if limit is not None:
                # It remembers what was asked, whatever else has changed.
                limits[switch.id] = limit
            networks = Networks(switch.networks) if switch.networks else None
            for token in switch.tokens:
                tokens[token.hash] = KnownToken(switch.id, token, networks, limit)
        self._limits = limits
        self.tokens = tokens
