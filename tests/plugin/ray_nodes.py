"""Simulated nodes of a Ray cluster, in a process of their own: what Ray prints stays there.

Each node has one core. The process that is started here obeys lines of JSON and answers with one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAST = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 2000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 4,
}
"""So that tests need not wait half a minute until a node is taken for dead."""


class Nodes:
    """A cluster; a context, at whose end nothing of it is left."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        """Start a head with one core, and further nodes.

        Args:
            folder: For Ray's session; short, since sockets lie in it.
            nodes: How many there are, with the head.
        """
        self.folder = folder
        self._log = (folder / "nodes.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        self.address = str(self._ask("head"))
        self.added = [self.add() for _ in range(nodes - 1)]

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        with self._log, self._process:  # closes what leads to it, and waits for its end
            pass

    def add(self, **environment: str) -> str:
        """Add a node with these variables; gives its name."""
        return str(self._ask("add", environment))

    def remove(self, name: str) -> None:
        """Take a node away as if its power failed."""
        self._ask("remove", name)

    def end(self) -> None:
        """End the head, and so the cluster."""
        self._ask("end")

    def _ask(self, *request: Any) -> Any:
        given, told = self._process.stdin, self._process.stdout
        assert given is not None
        assert told is not None
        given.write(json.dumps(request) + "\n")
        given.flush()
        line = told.readline()
        assert line, (self.folder / "nodes.log").read_text()[-3000:]
        return json.loads(line)


def main(folder: str) -> None:
    """Obey until nothing more is said."""
    from ray.cluster_utils import Cluster

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Ray notes the address below its usual place too, whatever folder it is given.
    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)
    small: Mapping[str, Any] = {"num_cpus": 1, "object_store_memory": 150 * 2**20}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **small,
            "temp_dir": folder,
            "include_dashboard": False,
            "_system_config": FAST,
        },
    )
    head: Any = cluster.head_node
    nodes: dict[str, Any] = {}
    for line in sys.stdin:
        name, *given = json.loads(line)
        answer: Any = cluster.address
        if name == "add":
            node = cluster.add_node(**small, env_vars=given[0])
            nodes[node.node_id] = node
            answer = node.node_id
        elif name == "remove":
            cluster.remove_node(nodes.pop(given[0]), allow_graceful=False)
        elif name == "end":
            cluster.remove_node(head, allow_graceful=False)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(sys.argv[1])
