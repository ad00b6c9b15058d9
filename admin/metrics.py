"""Every metric of the web site, declared once. No label grows with customers."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from loader.tls import TlsMetrics

_PAGE_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """All metrics of one web site, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.pages = Histogram(
            "rollcall_admin_page_seconds",
            "Seconds that pages took, by page and status.",
            ["page", "status"],
            buckets=_PAGE_BUCKETS,
            registry=registry,
        )
        self.sign_ins = Counter("rollcall_admin_sign_ins", "Sign-ins, by result.", ["result"], registry=registry)
        for result in ("accepted", "refused", "slowed"):
            self.sign_ins.labels(result)
        self.uploads = Counter(
            "rollcall_admin_uploads", "List files, by what came of them.", ["result"], registry=registry
        )
        for result in ("refused", "staged", "confirmed"):
            self.uploads.labels(result)
        self.mails = Counter(
            "rollcall_admin_mails",
            "Mails, by what they are and what came of handing them over: a delayed one is tried again.",
            ["mail", "result"],
            registry=registry,
        )
        for mail in ("account", "roll", "invitation"):
            for result in ("sent", "delayed", "failed"):
                self.mails.labels(mail, result)
        self.database_up = Gauge(
            "rollcall_admin_database_up", "1 if the last look at the database succeeded.", registry=registry
        )
        self.streams = Gauge("rollcall_admin_streams", "Live rolls that are watched now.", registry=registry)
        self.tls = TlsMetrics(registry, "rollcall_admin")
        Info("rollcall_admin_build", "What is running.", registry=registry).info({"version": version})
