"""One host as a cluster: network namespaces for a client, nodes, controllers and pods.

The ground that demo, tests and benchmarks stand on. It runs the real controller and the real
daemon as processes and looks at them only from outside: their files, their logs, the wire. What
they do never belongs here.

    with Lab() as lab:
        lab.start_controller()
        lab.start_daemon()
        with lab.capture() as capture:
            exchange = lab.client.get()
        assert len(capture.syns()) == 1
"""

from wangell_lab.errors import LabError
from wangell_lab.lab import Lab

__all__ = ["Lab", "LabError"]
