"""A child process that counts up a shared key and one of its own, and says after each event that it is committed."""

import sys
from pathlib import Path

from tests.features.store.support import Workbench, increment
from vigil.clock import system_clock

if __name__ == "__main__":
    kind, folder, url, namespace, name, count = sys.argv[1:]
    bench = Workbench(kind, Path(folder), url, clock=system_clock, namespace=namespace)  # type: ignore[arg-type]
    store = bench.open()
    for turn in range(int(count)):
        event_id = f"{name}-{turn}"
        increment(store, ["shared", name], event_id)
        print(event_id, flush=True)
    bench.close()
