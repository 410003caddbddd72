"""A Ray cluster of several nodes on this machine, as a script: a head without CPUs and nodes with one each.

Prints its address and the process ids of the nodes' raylets as JSON, and ends when its stdin is closed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

STORE = 80_000_000  # bytes of each node's object store
HEALTH = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}


def main(nodes: int, folder: str) -> None:
    """Start the cluster, print its address and process ids, wait until stdin is closed, and end it."""
    os.environ["RAY_TMPDIR"] = folder  # Ray notes the address of its latest cluster in ray/ there, and does not make it
    (Path(folder) / "ray").mkdir()
    from ray.cluster_utils import Cluster

    head: dict[str, Any] = {"include_dashboard": False, "temp_dir": folder, "_system_config": HEALTH}
    cluster = Cluster(
        initialize_head=True, head_node_args={**head, "num_cpus": 0, "num_gpus": 0, "object_store_memory": STORE}
    )
    try:
        made = [cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=STORE) for _ in range(nodes)]
        raylets = [node.all_processes["raylet"][0].process.pid for node in made]
        print(json.dumps({"address": cluster.address, "nodes": raylets}), flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
