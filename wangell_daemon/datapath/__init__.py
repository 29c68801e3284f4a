"""The one door to the kernel: BCC, BPF system calls, XDP, tc, nfnetlink, socket diagnosis.

What belongs here: loading and attaching the programs of ebpf/, reading and writing their maps,
their ring buffers, injecting frames. What never does: deciding which SYN is held or replayed.
"""

from wangell_daemon.datapath.addresses import Addresses
from wangell_daemon.datapath.datapath import Datapath
from wangell_daemon.datapath.errors import DatapathError, ForeignProgramError
from wangell_daemon.datapath.handover import Handover, remove_rules
from wangell_daemon.datapath.interface import XdpMode, default_interface, detach
from wangell_daemon.datapath.own_calls import OwnCalls
from wangell_daemon.datapath.pod_interfaces import PodInterfaces, detach_pod_interfaces
from wangell_daemon.datapath.sockdiag import Caller, Listener
from wangell_daemon.datapath.syscalls import source_address_in

__all__ = [
    "Addresses",
    "Caller",
    "Datapath",
    "DatapathError",
    "ForeignProgramError",
    "Handover",
    "Listener",
    "OwnCalls",
    "PodInterfaces",
    "XdpMode",
    "default_interface",
    "detach",
    "detach_pod_interfaces",
    "remove_rules",
    "source_address_in",
]
