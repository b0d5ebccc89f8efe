"""The numbers as Prometheus reads them."""

from prometheus_client import generate_latest

from worker.counters import DELAY_BOUNDS, Counters
from worker.web import metrics


def exposed(counters: Counters, **gauges: object) -> str:
    now = metrics.Gauges(True, "realtime", 0, 3, 0.0, **gauges)  # type: ignore[arg-type]
    return generate_latest(metrics.registry(counters, lambda: now)).decode()


def test_delays_are_a_histogram_of_bounded_size() -> None:
    counters = Counters()
    for seconds in (0.001, 0.3, 0.3, 100.0):
        counters.delays["changes"].note(seconds)
    text = exposed(counters)

    assert 'worker_realtime_delay_seconds_bucket{le="0.002",road="changes"} 1.0' in text
    assert 'worker_realtime_delay_seconds_bucket{le="0.5",road="changes"} 3.0' in text
    assert 'worker_realtime_delay_seconds_bucket{le="+Inf",road="changes"} 4.0' in text
    assert 'worker_realtime_delay_seconds_count{road="changes"} 4.0' in text
    assert text.count("worker_realtime_delay_seconds_bucket") == len(DELAY_BOUNDS) + 1


def test_the_mode_its_time_and_the_roads_are_told() -> None:
    text = exposed(Counters(), mode_seconds={"realtime": 12.5, "polling": 3.0}, roads=["changes"], workers=4)

    assert 'worker_mode{mode="realtime"} 1.0' in text
    assert 'worker_mode_seconds_total{mode="realtime"} 12.5' in text
    assert 'worker_mode_seconds_total{mode="polling"} 3.0' in text
    assert 'worker_road_open{road="changes"} 1.0' in text
    assert 'worker_road_open{road="broadcast"} 0.0' in text
    assert "worker_workers 4.0" in text


def test_who_told_first_and_who_never_did_are_counted() -> None:
    counters = Counters()
    counters.heard_first["broadcast"] += 2
    counters.unheard["changes"] += 1
    counters.undecoded = 5
    text = exposed(counters)

    assert 'worker_heard_first_total{road="broadcast"} 2.0' in text
    assert 'worker_unheard_total{road="changes"} 1.0' in text
    assert "worker_undecoded_total 5.0" in text
