"""Every metric, declared once. No label grows with customers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from daemon.counters import Counters, Kind
from daemon.shared_counter import SharedCounter
from daemon.shares import Share, Shares, alone
from daemon.verify import ACCEPTED, Tally
from loader.index import Reason
from loader.tls import TlsMetrics

log = structlog.get_logger(__name__)

# The upper ones are the time limits of switches: half a second, 2, 5 and 10 seconds.
_VERIFICATION_BUCKETS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2, 5, 10)
_BUCKET_LABELS: Final = [*(str(float(bound)) for bound in _VERIFICATION_BUCKETS), "+Inf"]
_RESULTS: Final = (ACCEPTED, *(reason.value for reason in Reason))
_SHARED_DOOR: Final = "http"
"""The door that several processes may serve."""
_SHARED_PORT: Final = "daemon"
"""Its port, as TLS calls it."""
_STATUSES: Final = range(400, 600)
"""Of a request that is refused."""
_HANDSHAKES: Final = ("certificate", "hung_up", "no_certificate", "protocol", "refused_by_client", "timeout")
"""Why those of TLS come to nothing."""
_LOCKED: Final = ("caller", "conference", "switch")
_HELD_UP: Final = ("call", *_LOCKED, "busy")
_IN_FORCE_BUCKETS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)


class Metrics:
    """All metrics of one daemon, in a registry of their own.

    What the workers count too is in `shares`: the main process tells of all of them.
    """

    def __init__(self, version: str, shares: Shares | None = None) -> None:
        shares = shares or Shares()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._verifications = _Verifications(shares)
        registry.register(self._verifications)
        self._refused = SharedCounter(
            "rollcall_http_requests_refused",
            "HTTP requests that were answered with an error, by status.",
            ["door", "status"],
            shares=shares,
            shared=[(_SHARED_DOOR, str(status)) for status in _STATUSES],
            registry=registry,
        )
        self._tokens_refused = SharedCounter(
            "rollcall_tokens_refused",
            "Tokens of switches that were not taken, by why: they have expired, or came from another address.",
            ["door", "why"],
            shares=shares,
            shared=[(_SHARED_DOOR, why) for why in ("expired", "address")],
            registry=registry,
        )
        self._dropped = Counter(
            "rollcall_questions_dropped",
            "Questions over other protocols that got no answer or were broken off, by why.",
            ["door", "why"],
            registry=registry,
        )
        self._call_events = SharedCounter(
            "rollcall_call_events",
            "Calls that switches said were joined or left.",
            ["door", "event"],
            shares=shares,
            shared=[(_SHARED_DOOR, event) for event in ("joined", "left")],
            registry=registry,
        )
        self._roll_events_dropped = SharedCounter(
            "rollcall_roll_events_dropped",
            "Events of calls that were lost, as they could be written nowhere for too long.",
            shares=shares,
            registry=registry,
        ).labels()
        self._webhooks = Counter(
            "rollcall_webhooks",
            "Events that companies were told of, by what came of it: tries delivered or failed, events given up.",
            ["result"],
            registry=registry,
        )
        for result in ("delivered", "failed", "given_up"):
            self._webhooks.labels(result)
        locked = SharedCounter(
            "rollcall_throttle_locked",
            "Locks that were set or made longer, by what was locked.",
            ["kind"],
            shares=shares,
            shared=[(kind,) for kind in _LOCKED],
            registry=registry,
        )
        self._locked = {kind: locked.labels(kind) for kind in _LOCKED}
        held_up = SharedCounter(
            "rollcall_throttle_refused",
            "Verifications that were answered `locked`, by whose count was the reason.",
            ["kind"],
            shares=shares,
            shared=[(kind,) for kind in _HELD_UP],
            registry=registry,
        )
        self._held_up = {kind: held_up.labels(kind) for kind in _HELD_UP}
        self._counters = _Counters()
        registry.register(self._counters)
        self.roll_backlog = Gauge(
            "rollcall_roll_journal_bytes", "Bytes of events that are in the journal.", registry=registry
        )
        waiting = shares.take(1)
        self._waiting = waiting.own
        self.events_waiting_here: Callable[[], int] = lambda: 0
        """Tells how many events of calls are in this process's memory only, where it tells of metrics itself."""
        Gauge(
            "rollcall_roll_events_waiting", "Events that could not be written yet, in memory.", registry=registry
        ).set_function(lambda: self.events_waiting_here() + waiting.total(0))
        self.workers = Gauge(
            "rollcall_workers", "Processes that answer switches over HTTP, the main one among them.", registry=registry
        )
        self.workers.set(1)
        self.workers_restarted = Counter(
            "rollcall_workers_restarted", "Workers that ended by themselves, and were replaced.", registry=registry
        )
        self.rolls_kept = Gauge(
            "rollcall_rolls_kept", "1 if events reach the database, as far as is known.", registry=registry
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
        handshakes = SharedCounter(
            *TlsMetrics.handshakes_refused("rollcall"),
            ["port", "why"],
            shares=shares,
            shared=[(_SHARED_PORT, why) for why in _HANDSHAKES],
            registry=registry,
        )
        self.tls = TlsMetrics(registry, "rollcall", handshakes)
        Info("rollcall_build", "What is running.", registry=registry).info({"version": version})

    def tally(self, door: str) -> Tally:
        """What counts the verifications of one door; every result is there from the start, at 0."""
        return self._verifications.of(door)

    def refusals(self, door: str) -> Callable[[int], None]:
        """What counts the requests that one door answers with an error, by status."""

        def count(status: int) -> None:
            self._refused.labels(door, str(status)).inc()

        return count

    def tokens_refused(self, door: str) -> Callable[[str], None]:
        """What counts the tokens of switches that one door does not take, by why: `expired`, `address`."""
        reasons = {why: self._tokens_refused.labels(door, why) for why in ("expired", "address")}

        def count(why: str) -> None:
            reasons[why].inc()

        return count

    def dropped(self, door: str) -> Callable[[str], None]:
        """What counts the questions that one door, other than over HTTP, does not answer, by why."""

        def count(why: str) -> None:
            self._dropped.labels(door, why).inc()

        return count

    def call_events(self, door: str) -> Callable[[str], None]:
        """What counts the calls that one door was told were `joined` or `left`."""
        events = {event: self._call_events.labels(door, event) for event in ("joined", "left")}

        def count(event: str) -> None:
            events[event].inc()

        return count

    def roll_events_dropped(self, count: int) -> None:
        """So many events of calls were lost."""
        self._roll_events_dropped.inc(count)
        log.error("roll_events_dropped", count=count)

    def events_waiting(self, count: int) -> None:
        """So many events of calls are in the memory of this process only, which tells of no metrics itself."""
        self._waiting[0] = count

    def webhooks(self, result: str, count: int) -> None:
        """So many tries to tell companies of events were `delivered` or `failed`, or events `given_up`."""
        self._webhooks.labels(result).inc(count)

    def locked(self, kind: str) -> None:
        """A caller, a conference or a switch was locked, or locked for longer."""
        self._locked[kind].inc()

    def held_up(self, kind: str) -> None:
        """A verification was answered `locked`, as this kind of count says."""
        self._held_up[kind].inc()

    def throttle_counters(self, counters: Counters | None) -> None:
        """The counters that are told of from now on."""
        self._counters.told = counters

    def in_force(self, seconds: float) -> None:
        """One commit is in force, so many seconds after it."""
        self._commit_to_force.observe(seconds)
        self._commit_to_force_last.set(seconds)


class _DoorTally:
    """What one door counts. Plain numbers, as one thread of each process counts them: locks would cost four times that."""

    __slots__ = ("_at", "_own", "share")

    def __init__(self, share: Share) -> None:
        self.share = share
        self._own = share.own
        self._at = _RESULTS_AT

    def __call__(self, result: str, seconds: float) -> None:
        own = self._own
        own[self._at[result]] += 1
        own[bisect_left(_VERIFICATION_BUCKETS, seconds)] += 1
        own[_SECONDS_AT] += seconds


_SECONDS_AT: Final = len(_BUCKET_LABELS)
"""Where the sum of all seconds stands in a door's share: behind the buckets."""
_RESULTS_AT: Final = {result: at for at, result in enumerate(_RESULTS, _SECONDS_AT + 1)}
_TALLIED: Final = _SECONDS_AT + 1 + len(_RESULTS)


class _Verifications(Collector):
    """The doors' tallies as metrics."""

    def __init__(self, shares: Shares) -> None:
        self._shared = shares.take(_TALLIED)
        self._doors: dict[str, _DoorTally] = {}

    def of(self, door: str) -> _DoorTally:
        tally = self._doors.get(door)
        if tally is None:
            tally = self._doors[door] = _DoorTally(self._shared if door == _SHARED_DOOR else alone(_TALLIED))
        return tally

    def collect(self) -> Iterator[Metric]:
        results = CounterMetricFamily("rollcall_verifications", "Verifications by result.", labels=["door", "result"])
        durations = HistogramMetricFamily(
            "rollcall_verification_seconds",
            "Seconds from when a door began with a question to its decision.",
            labels=["door"],
        )
        for door, tally in self._doors.items():
            totals = [tally.share.total(at) for at in range(_TALLIED)]
            for result, at in _RESULTS_AT.items():
                results.add_metric([door, result], totals[at])
            durations.add_metric(
                [door],
                buckets=list(zip(_BUCKET_LABELS, accumulate(totals[:_SECONDS_AT]), strict=True)),
                sum_value=totals[_SECONDS_AT],
            )
        yield results
        yield durations
        if len(self._shared.all) > 1:
            workers = CounterMetricFamily(
                "rollcall_worker_verifications",
                "Verifications over HTTP by worker; 0 is the main process.",
                labels=["worker"],
            )
            for number, numbers in enumerate(self._shared.all):
                workers.add_metric([str(number)], sum(numbers[at] for at in range(_SECONDS_AT)))
            yield workers


class _Counters(Collector):
    """How full the throttle's counters are: of all daemons that share them."""

    def __init__(self) -> None:
        self.told: Counters | None = None

    def collect(self) -> Iterator[Metric]:
        used = GaugeMetricFamily("rollcall_throttle_used", "Counters of the throttle in use, by kind.", labels=["kind"])
        places = GaugeMetricFamily("rollcall_throttle_places", "Counters that there is room for.", labels=["kind"])
        evicted = CounterMetricFamily(
            "rollcall_throttle_evicted", "Counters that gave way, as their kind was full.", labels=["kind"]
        )
        if self.told is not None:
            for kind in Kind:
                label = [kind.name.lower()]
                used.add_metric(label, self.told.used(kind))
                places.add_metric(label, self.told.places(kind))
                evicted.add_metric(label, self.told.evicted(kind))
        yield from (used, places, evicted)
