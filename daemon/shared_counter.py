"""A counter as Prometheus reads it, of what several processes count together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.shares import Share, Shares, alone


class Counted:
    """One number of a counter."""

    __slots__ = ("_at", "_own", "_share")

    def __init__(self, share: Share, at: int) -> None:
        self._share = share
        self._own = share.own
        self._at = at

    def inc(self, count: float = 1) -> None:
        """Count so many more."""
        self._own[self._at] += count

    @property
    def total(self) -> float:
        """What all processes have counted."""
        return self._share.total(self._at)


class SharedCounter(Collector):
    """`shared` are the labels that every process counts; those of others are counted by this process alone.

    What was never counted is told of only if somebody has asked for its labels.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Iterable[str] = (),
        *,
        shares: Shares,
        shared: Iterable[tuple[str, ...]] = ((),),
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._told: set[tuple[str, ...]] = set()
        wanted = list(shared)
        share = shares.take(len(wanted))
        self._counted = {one: Counted(share, at) for at, one in enumerate(wanted)}
        registry.register(self)

    def labels(self, *labels: str) -> Counted:
        """The number with these labels, which is told of from now on."""
        self._told.add(labels)
        counted = self._counted.get(labels)
        if counted is None:
            counted = self._counted[labels] = Counted(alone(1), 0)
        return counted

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, counted in self._counted.items():
            total = counted.total
            if total or labels in self._told:
                family.add_metric(labels, total)
        yield family
