"""What every controller does beside its work: metrics for Prometheus, and keeping quick."""

import gc
import logging
import sys

from prometheus_client import start_http_server

from wangell_controller.metrics import Metrics
from wangell_controller.settings import Address

__all__ = ["keep_quick", "serve_metrics"]

log = logging.getLogger(__name__)

# A scrape has its own thread, and would keep the interpreter for 5 ms while a wake waits.
SWITCH_INTERVAL_S = 0.0002


def serve_metrics(metrics: Metrics, address: Address) -> None:
    """Serve until the process ends: a server that is told to looks up to half a second later.

    Raises OSError where the address cannot be had.
    """
    host, port = address
    try:
        server, _thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        reason = f"metrics cannot be served at {host}:{port}: {error.strerror}"
        raise OSError(error.errno, reason) from error
    log.info("metrics at http://%s:%d/metrics", host, server.server_port)


def keep_quick() -> None:
    """A full collection walks all that was loaded: 10 ms in the middle of somebody's wake."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
