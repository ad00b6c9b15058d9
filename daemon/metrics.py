"""Every metric, declared once. No label grows with customers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from daemon.verify import ACCEPTED, Tally
from loader.index import Reason

# The upper ones are the time limits of switches: half a second, 2, 5 and 10 seconds.
_VERIFICATION_BUCKETS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2, 5, 10)
_IN_FORCE_BUCKETS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)


class Metrics:
    """All metrics of one daemon, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._verifications = Counter(
            "rollcall_verifications", "Verifications by result.", ["door", "result"], registry=registry
        )
        self._verification_seconds = Histogram(
            "rollcall_verification_seconds",
            "Seconds from when a door began with a question to its decision.",
            ["door"],
            buckets=_VERIFICATION_BUCKETS,
            registry=registry,
        )
        self._refused = Counter(
            "rollcall_http_requests_refused",
            "HTTP requests that were answered with an error, by status.",
            ["door", "status"],
            registry=registry,
        )
        self.index_entries = Gauge("rollcall_index_entries", "Entries of all lists in force.", registry=registry)
        self.index_lists = Gauge("rollcall_index_lists", "Lists in force.", registry=registry)
        self.index_conferences = Gauge("rollcall_index_conferences", "Conferences in force.", registry=registry)
        self.index_bytes = Gauge("rollcall_index_bytes", "Bytes of all lists in force.", registry=registry)
        self.lists_not_applied = Gauge(
            "rollcall_lists_not_applied", "Lists whose newest revision cannot be opened.", registry=registry
        )
        self.position_applied = Gauge(
            "rollcall_position_applied",
            "Position in the feed of changes up to which all is in force.",
            registry=registry,
        )
        self._commit_to_force = Histogram(
            "rollcall_commit_to_force_seconds",
            "Seconds from a change's commit until it is in force here.",
            buckets=_IN_FORCE_BUCKETS,
            registry=registry,
        )
        self._commit_to_force_last = Gauge(
            "rollcall_commit_to_force_last_seconds", "The same, of the last change.", registry=registry
        )
        self.loads = Counter(
            "rollcall_loads", "How often the whole database was read and put in force.", registry=registry
        )
        self.reload_failures = Counter(
            "rollcall_reload_failures", "Lists or databases that could not be read again.", registry=registry
        )
        self.settings_failures = Counter(
            "rollcall_settings_failures", "Settings or key files that were wrong when read again.", registry=registry
        )
        self.database_up = Gauge(
            "rollcall_database_up", "1 if the last look at the database succeeded.", registry=registry
        )
        Info("rollcall_build", "What is running.", registry=registry).info({"version": version})

    def tally(self, door: str) -> Tally:
        """What counts the verifications of one door; every result is there from the start, at 0."""
        counts = {result: self._verifications.labels(door, result).inc for result in (ACCEPTED, *Reason)}
        observe = self._verification_seconds.labels(door).observe

        def count(result: str, seconds: float) -> None:
            counts[result]()
            observe(seconds)

        return count

    def refusals(self, door: str) -> Callable[[int], None]:
        """What counts the requests that one door answers with an error, by status."""

        def count(status: int) -> None:
            self._refused.labels(door, str(status)).inc()

        return count

    def in_force(self, seconds: float) -> None:
        """One commit is in force, so many seconds after it."""
        self._commit_to_force.observe(seconds)
        self._commit_to_force_last.set(seconds)
