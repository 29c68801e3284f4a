"""Tests send Ctrl-C, to themselves and to what they start: it must mean what it does to a user.

A shell starts what it puts in the background with SIGINT ignored, and whatever that starts
inherits it: there those tests would wait in vain.
"""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
