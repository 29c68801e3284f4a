"""Replicas as processes of this machine, each in a network namespace that stands for its pod.

Needs root. The servers of a controller that is killed live on, and the next one adopts them.
"""

from wangell_controller.backends.local.backend import LocalBackend
from wangell_controller.backends.local.launch import Launch, plan
from wangell_controller.backends.local.raiser import LocalRaiser
from wangell_controller.backends.local.settings import LocalSettings

__all__ = ["Launch", "LocalBackend", "LocalRaiser", "LocalSettings", "plan"]
