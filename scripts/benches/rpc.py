"""What a procedure call costs its caller: the worker's own road beside the official client, in turns."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from scripts import local
from scripts.benches import gateway
from scripts.benches.telling import Figures, latency
from worker.rpc import Rpc
from worker.rpc_direct import DirectRpc
from worker.rpc_official import OfficialRpc

_ROUNDS = 5
_CALLS = 200


async def run(home: Path, _args: Sequence[str]) -> Figures:
    """Milliseconds and processor time of a trivial call, one after the other, in interleaved rounds."""
    figures: Figures = {}
    async with local.stack(home) as env:
        gateway.add_bench_add(env["DATABASE_URL"])
        where = (env["SUPABASE_URL"], env["SUPABASE_SECRET_KEY"])
        roads: dict[str, Rpc] = {"direct": DirectRpc(*where), "official": OfficialRpc(*where)}
        times: dict[str, list[float]] = {name: [] for name in roads}
        busy: dict[str, list[float]] = {name: [] for name in roads}
        for round_number in range(_ROUNDS + 1):
            for name, rpc in roads.items():
                milliseconds, processor_ms = await _calls(rpc)
                if round_number:  # the first one warms both sides
                    times[name] += milliseconds
                    busy[name].append(processor_ms)
        for name, rpc in roads.items():
            await rpc.close()
            print(f"{name:<9} {latency(times[name])}; {statistics.median(busy[name]):.2f} ms of processor a call")
            figures[f"rpc_{name}_ms"] = statistics.median(times[name])
            figures[f"rpc_{name}_processor_ms"] = statistics.median(busy[name])
    return figures


async def _calls(rpc: Rpc) -> tuple[list[float], float]:
    took = []
    processor_at = time.process_time()
    for _ in range(_CALLS):
        started = time.perf_counter()
        assert await rpc.call("bench_add", {"a": 1, "b": 2}) == 3
        took.append((time.perf_counter() - started) * 1000)
    return took, (time.process_time() - processor_at) * 1000 / _CALLS
