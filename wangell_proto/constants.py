"""Numbers of the wire format, and limits of this implementation.

The first block is the specification: two implementations must agree on it, and numbers are only
ever appended. The second is ours; each limit says what breaks without it.
"""

import struct

# --- Specification -------------------------------------------------------------------------

MAGIC = b"WG"
VERSION = 1

# magic, version, type, flags, key id, session of the receiver, packet number; network order.
HEADER = struct.Struct("!2sBBBBIQ")
HEADER_BYTES = HEADER.size
# ChaCha20-Poly1305 as Noise uses it: 32 zero bits, then the packet number, little-endian.
NONCE = struct.Struct("<4xQ")

TAG_BYTES = 16
MAC_BYTES = 16
COOKIE_BYTES = 16
KEY_BYTES = 32
PSK_BYTES = 32
INCARNATION_BYTES = 8
DIGEST_BYTES = 8
BUCKETS = 256

# IPv6 promises 1,280 bytes; 40 of IP, 8 of UDP and some tunnel leave this much everywhere.
DATAGRAM_BYTES_MAX = 1200
BODY_BYTES_MAX = DATAGRAM_BYTES_MAX - HEADER_BYTES - TAG_BYTES
# A body is a msgpack array of at most 15 frames, so that its header is one byte.
FRAMES_MAX = 15
# Frame type, kind, sequence, epoch, index, count and the length of the bytes, at their longest.
FRAME_OVERHEAD_BYTES = 1 + 1 + 2 + 9 + 9 + 3 + 3 + 3
FRAGMENT_BYTES = 1100
MESSAGE_BYTES_MAX = 65536
FRAGMENTS_MAX = -(-MESSAGE_BYTES_MAX // FRAGMENT_BYTES)
# A wake is one datagram, so that one arrival completes it. Room for an ack of 16 ranges beside.
WAKE_BYTES_MAX = 900

# Numbers on the wire are below this, so that they survive signed 64-bit integers everywhere.
NUMBER_MAX = 2**62

# --- Limits of this implementation -----------------------------------------------------------

# Datagrams reordered by more than this are lost: 8,192 at 100,000/s are 80 ms.
REPLAY_WINDOW = 8192
# The unacknowledged span of a sender: what a receiver must remember to deliver exactly once.
DELIVERY_WINDOW = 4096
# Beyond it a peer is too slow, and the caller hears of it instead of memory filling up.
QUEUED_MESSAGES_MAX = 1024
# Two, so that one is on its way while the next is being prepared.
REASSEMBLIES_PER_PEER_MAX = 2
# 16 MiB for all peers of a server: 128 peers sending two largest messages each.
REASSEMBLY_BYTES_MAX = 16 * 1024 * 1024
# One 64 KiB chunk leaves room for its frame.
CHUNK_BYTES_MAX = 60_000
RECORD_VALUE_BYTES_MAX = 56_000
RECORD_KEY_CHARS_MAX = 512
# A filter is a list of key prefixes; a namespace or two is what one asks for.
PREFIXES_MAX = 16
PEER_NAME_CHARS_MAX = 253
# A cluster of Kubernetes has at most 5,000 nodes.
PEERS_MAX = 5000
# Handshakes answered and not yet confirmed: each holds some 3 KiB for 3 s at most.
UNCONFIRMED_MAX = 1024
SERVERS_MAX = 4
# Deletions are remembered so that a peer that was away gets them as deltas.
TOMBSTONES_MAX = 4096
# Ranges in one acknowledgement: 16 holes at once mean a network that reorders everything.
ACK_RANGES_MAX = 16
