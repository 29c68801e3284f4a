"""A daemon's life: open, take over, attach, serve, leave the programs to a successor."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from prometheus_client import start_http_server

from wangell_daemon.agent import Agent
from wangell_daemon.cold_start_log import ColdStartLog
from wangell_daemon.controllers import Controllers
from wangell_daemon.datapath import (
    Addresses,
    Datapath,
    Handover,
    OwnCalls,
    PodInterfaces,
    XdpMode,
    detach,
    detach_pod_interfaces,
    remove_rules,
)
from wangell_daemon.health import Health
from wangell_daemon.keys import read_key, read_psks
from wangell_daemon.lock import only_daemon_of, serves_another
from wangell_daemon.metrics import Metrics
from wangell_daemon.node import Node
from wangell_daemon.own_callers import OwnCallers
from wangell_daemon.readiness.probe import Prober
from wangell_daemon.readiness.workload import ByCgroup, ByNamespace, WorkloadRule
from wangell_daemon.refusal import Refuser
from wangell_daemon.settings import Readiness, Settings, Workload

__all__ = ["run", "uninstall"]

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises DatapathError, KeyFileError, AlreadyServedError."""
    read_key(settings.key_dir / "controller.pub")  # to fail before anything is touched
    read_psks(settings.key_dir / "psk")
    with only_daemon_of(settings.interface), contextlib.ExitStack() as leaving:
        datapath = Datapath(settings.interface)
        leaving.callback(datapath.close)
        if asyncio.run(_serve(settings, datapath)):
            uninstall(settings.interface)
            log.info("leaving; no service is left, and so is nothing of ours")
        else:
            log.info("leaving; %s stays attached and holds for 30 s more", settings.interface)


def uninstall(interface: str) -> bool:
    """Take the programs and the rules off. Returns whether one was attached. Raises DatapathError.

    The caller holds the interface's lock.
    """
    was_attached = detach(interface)
    if not serves_another(interface):
        was_attached |= detach_pod_interfaces() > 0
        remove_rules()
    return was_attached


async def _serve(settings: Settings, datapath: Datapath) -> bool:
    """Serve until a signal. Returns whether there is no service that a successor would hold."""
    with contextlib.ExitStack() as leaving:
        agent = _agent(settings, datapath, leaving)
        _serve_metrics(settings, agent, datapath)
        pods = _pod_interfaces(settings, agent, datapath, leaving)
        _take_over(datapath, pods, agent)
        _follow_addresses(agent, datapath, leaving)
        agent.on_synced = await _tell_when_ready(settings, leaving)
        leaving.callback(agent.link.close)
        following = asyncio.create_task(Controllers(settings, agent.link.use).follow())
        leaving.callback(following.cancel)
        agent.beat()
        _keep_quick()
        await _stopped(following)
        return agent.serves_nothing


def _agent(settings: Settings, datapath: Datapath, leaving: contextlib.ExitStack) -> Agent:
    refuser, cold_starts = Refuser(), ColdStartLog(settings.cold_start_log)
    handover, own_calls = Handover(), _own_calls()
    leaving.callback(handover.close)
    leaving.callback(refuser.close)
    leaving.callback(cold_starts.close)
    metrics = Metrics()
    node = Node(
        settings.node_name,
        probes=settings.readiness is not Readiness.LISTEN,
        adopted=datapath.adopt(),
        own_addresses=datapath.addresses,
    )
    agent = Agent(
        node=node,
        datapath=datapath,
        handover=handover,
        own_callers=OwnCallers(own_calls, on_failure=lambda: metrics.failed("own_calls")),
        refuser=refuser,
        metrics=metrics,
        cold_starts=cold_starts,
        workload_rule=_workload_rule(settings),
        clock=BOOT_ID.read_text().strip(),
        watches_listen=settings.readiness is not Readiness.PROBE,
        reuses_addresses=settings.workload is Workload.CGROUP,
    )
    if own_calls is not None:
        own_calls.on_syn = agent.own_held
        own_calls.on_lost = lambda: metrics.gave_up("queue_full", 1)
        asyncio.get_running_loop().add_reader(own_calls.log, own_calls.log.consume)
        leaving.callback(own_calls.close)
    agent.prober = Prober(interval_s=settings.probe_interval_s, on_answer=agent.probe_answered)
    leaving.callback(agent.prober.close)
    return agent


def _own_calls() -> OwnCalls | None:
    try:
        return OwnCalls()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        log.info("calls of the node itself are another daemon's, of another interface")
        return None


def _serve_metrics(settings: Settings, agent: Agent, datapath: Datapath) -> None:
    metrics = agent.metrics
    metrics.count("xdp_packets", "Packets by why they left XDP or tc.", datapath.reasons)
    metrics.count("datagrams_dropped", "Datagrams not believed, by reason.", agent.link.drops)
    if settings.metrics_address is None:
        return
    host, port = settings.metrics_address
    # It ends with the process. Asked to, it would look up to half a second later.
    start_http_server(port, addr=host, registry=metrics.registry)
    log.info("metrics at http://%s:%d/metrics", host, port)


def _pod_interfaces(
    settings: Settings, agent: Agent, datapath: Datapath, leaving: contextlib.ExitStack
) -> PodInterfaces:
    pods = PodInterfaces(
        datapath.call_program_fd,
        patterns=settings.pod_interfaces,
        besides=datapath.ifindex,
        on_failure=lambda: agent.metrics.failed("pod_interface"),
    )
    leaving.callback(pods.close)
    agent.metrics.pod_interfaces(lambda: len(pods))
    return pods


def _follow_addresses(agent: Agent, datapath: Datapath, leaving: contextlib.ExitStack) -> None:
    addresses = Addresses(
        datapath.ifindex,
        datapath.addresses,
        on_change=agent.readdressed,
        on_failure=lambda: agent.metrics.failed("addresses"),
    )
    leaving.callback(addresses.close)
    asyncio.get_running_loop().add_reader(addresses, addresses.consume)
    leaving.callback(asyncio.get_running_loop().remove_reader, addresses)
    addresses.look()


def _take_over(datapath: Datapath, pods: PodInterfaces, agent: Agent) -> None:
    """Read the rings before anything can be in them, attach, then read what a predecessor left."""
    loop = asyncio.get_running_loop()
    for ring in datapath.rings(
        on_held=agent.held, on_answered=agent.answered, on_listen=agent.listened
    ):
        loop.add_reader(ring.map_fd, ring.consume)
    took_over, mode = datapath.is_taking_over, datapath.attach()
    verb = "took over" if took_over else "attached to"
    log.info("%s %s in %s mode", verb, datapath.interface, mode.name.lower())
    if mode is XdpMode.GENERIC:
        log.warning("%s: its driver has no native XDP; generic mode is slower", datapath.interface)
    pods.attach()
    pods.follow()
    log.info("calls of this node's pods: tc ingress of %d interfaces", len(pods))
    datapath.drain_predecessor(agent.held)


def _workload_rule(settings: Settings) -> WorkloadRule:
    if settings.workload is Workload.CGROUP:
        return ByCgroup(settings.cgroup_root)
    return ByNamespace()


async def _stopped(following: asyncio.Task[None]) -> None:
    """Wait for a signal; what breaks `following` ends the daemon, too."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, stop)
    following.add_done_callback(lambda task: _fail(stop, task))
    await stop


def _end(stop: asyncio.Future[None]) -> None:
    if not stop.done():
        stop.set_result(None)


def _fail(stop: asyncio.Future[None], task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not stop.done():
        stop.set_exception(error)


def _keep_quick() -> None:
    """A full collection walks all that was loaded: 10 ms in the middle of somebody's wake."""
    gc.collect()
    gc.freeze()


async def _tell_when_ready(settings: Settings, leaving: contextlib.ExitStack) -> Callable[[], None]:
    """Return what is called each time that the table is whole. Raises OSError."""
    health = Health()
    if settings.health_address is not None:
        await health.serve(settings.health_address)
        leaving.callback(health.close)

    def tell() -> None:
        health.missing = None
        _notify_ready()

    return tell


def _notify_ready() -> None:
    """Tell whoever started us (sd_notify) that the table is in and SYNs are held."""
    address = os.environ.pop("NOTIFY_SOCKET", None)
    if address is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1))
