"""
What the plots show: bars made of the figures that `--json` kept, and nothing that was not measured.

A bar may carry a range (least to most), and a mark: the most or the least that it should be.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from scripts.benches import idle, memory, pipeline, scale, throughput
from scripts.benches.telling import Figures


class Bar(NamedTuple):
    label: str
    value: float
    least: float
    most: float
    is_ours: bool = True
    mark: float | None = None


@dataclass(frozen=True)
class Plot:
    title: str
    unit: str
    bars: Callable[[Figures], list[Bar]]
    scale: str = "linear"


CLAIMS = {
    "1 000": "1 000 waiting",
    "100 000": "100 000 waiting",
    "1 000 000": "1 000 000 waiting",
    "1 000, beside\n1 000 000 finished": "1 000, beside 1 000 000 finished",
    "1 000, beside 100 000\nfor tomorrow": "1 000, beside 100 000 for tomorrow",
    "100 000 of\n10 000 users": "100 000 of 10 000 users",
}
PEERS = {
    "graphile-worker, tuned": "peers_graphile_worker_tuned",
    "pgqueuer, tuned": "peers_pgqueuer_tuned",
    "pgqueuer": "peers_pgqueuer_default",
    "this one, 500 slots": "peers_ours_tuned",
    "graphile-worker": "peers_graphile_worker_default",
    "procrastinate, tuned": "peers_procrastinate_tuned",
    "procrastinate": "peers_procrastinate_default",
    "this one, 3 slots": "peers_ours_default",
}
ROADS = {
    "broadcast": "latency_broadcast",
    "broadcast, from the call\nthat creates the job": "latency_create",
    "change capture alone": "latency_changes",
    "polling alone": "latency_polling",
    "an event lost in silence": "latency_silence",
}
PARTS = {"Postgres": "postgres", "the worker": "worker", "the stack's gateway": "gateway"}
STREAMS = {
    "API, nothing changes, 99 %": "sse_quiet_api_p99_ms",
    "API, one job in ten changes, 99 %": "sse_api_p99_ms_1_in_10",
    "API, every job changes, 99 %": "sse_api_p99_ms_1_in_1",
    "database to client, one in ten, 95 %": "sse_lag_p95_ms_1_in_10",
    "database to client, every job, 95 %": "sse_lag_p95_ms_1_in_1",
}
WEIGHTS = {
    "idle": ("idle_worker_megabytes", memory.MEGABYTES_MAX),
    "500 slots, all busy": ("throughput_worker_megabytes", throughput.MEGABYTES_MAX),
    "1 MB of Markdown\ninto five languages": ("pipeline_document_megabytes", pipeline.MEGABYTES_MAX),
}
POLLS_AN_HOUR = 3600 / 5


def claims(figures: Figures) -> list[Bar]:
    return _plain(figures, CLAIMS.items())


def rates(figures: Figures) -> list[Bar]:
    """Fastest first."""
    found = _ranged(figures, {label: f"{key}_jobs_per_second" for label, key in PEERS.items()})
    return sorted(found, key=lambda bar: -bar.value)


def pickups(figures: Figures) -> list[Bar]:
    """The median, and the range to 99 %; soonest first."""
    bars = []
    for label, key in PEERS.items():
        if (value := figures.get(f"{key}_create_median_ms")) is not None:
            bars.append(Bar(label, value, value, figures[f"{key}_create_p99_ms"], "this" in label))
    return sorted(bars, key=lambda bar: bar.value)


def roads(figures: Figures) -> list[Bar]:
    """The median, and the range to 99 %."""
    bars = []
    for label, key in ROADS.items():
        if (value := figures.get(f"{key}_median_ms")) is not None:
            bars.append(Bar(label, value, value, figures[f"{key}_p99_ms"]))
    return bars


def processes(figures: Figures) -> list[Bar]:
    """The mark is what the provider would allow."""
    found = _ranged(figures, {str(count): f"scale_{count}_jobs_per_second" for count in scale.PROCESSES})
    return [bar._replace(is_ours=True, mark=scale.ideal(int(bar.label))) for bar in found]


def parts(figures: Figures) -> list[Bar]:
    return _plain(figures, ((label, f"throughput_{part}_cpu_ms_per_job") for label, part in PARTS.items()))


def calls(figures: Figures) -> list[Bar]:
    if "idle_calls_per_minute" not in figures:
        return []
    whole = figures["idle_calls_per_minute"] * 60
    return [
        Bar("a queue that polls every 5 s", POLLS_AN_HOUR, POLLS_AN_HOUR, POLLS_AN_HOUR, is_ours=False),
        Bar("this one, all calls", whole, whole, whole, mark=idle.CALLS_A_MINUTE_MAX * 60),
        *_plain(figures, [("of these, looks for work", "idle_looks_per_hour")]),
    ]


def weights(figures: Figures) -> list[Bar]:
    found = _plain(figures, ((label, key) for label, (key, _) in WEIGHTS.items()))
    return [bar._replace(mark=WEIGHTS[bar.label][1]) for bar in found]


def speeds(figures: Figures) -> list[Bar]:
    kinds = ("markdown", "text", "json")
    names = ((f"{kind}, {told}", f"pipeline_{kind}_{name}") for kind in kinds for name, told in pipeline.NAMED.items())
    return _plain(figures, ((label, f"{key}_mb_per_second") for label, key in names))


def streams(figures: Figures) -> list[Bar]:
    return _plain(figures, STREAMS.items())


PLOTS = {
    "bench-claim.svg": Plot("A claim of ten jobs, by what waits", "shared blocks touched", claims),
    "bench-peers.svg": Plot(
        "Empty jobs a second, one worker, same Postgres", "jobs a second, from the least to the most", rates, "log"
    ),
    "bench-pickup.svg": Plot("From the call that creates a job to its handler", "ms, median to 99 %", pickups),
    "bench-latency.svg": Plot("From the commit to the handler, by road", "ms, median to 99 %", roads, "log"),
    "bench-scale.svg": Plot(
        "Worker processes, jobs of 50 ms, 9 slots each", "jobs a second; the mark is the provider's limit", processes
    ),
    "bench-throughput.svg": Plot("What an empty job costs", "ms of processor a job", parts),
    "bench-idle.svg": Plot("An idle, healthy hour", "calls to the API; the mark is the most it may be", calls),
    "bench-memory.svg": Plot("What a worker weighs", "MB resident; the mark is the most it may be", weights),
    "bench-pipeline.svg": Plot("Cutting, checking and assembling, without a provider", "MB a second and core", speeds),
    "bench-sse.svg": Plot("500 live streams", "ms", streams, "log"),
}


def _plain(figures: Figures, keys: Iterable[tuple[str, str]]) -> list[Bar]:
    """Bars without a range, by label and key."""
    return [Bar(label, figures[key], figures[key], figures[key]) for label, key in keys if key in figures]


def _ranged(figures: Figures, keys: dict[str, str]) -> list[Bar]:
    return [
        Bar(label, figures[key], figures[f"{key}_min"], figures[f"{key}_max"], "this" in label)
        for label, key in keys.items()
        if key in figures
    ]
