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
# Leaves 66 bytes for the body's header, the frame's other items (28 at most) and a short ACK.
FRAGMENT_BYTES = 1100
MESSAGE_BYTES_MAX = 65536
FRAGMENTS_MAX = -(-MESSAGE_BYTES_MAX // FRAGMENT_BYTES)
# A wake is one datagram, so that one arrival completes it; an ACK of 16 ranges fits beside.
WAKE_BYTES_MAX = 900

# An INITIATION with a credential is cut into at most so many pieces.
PIECES_MAX = 4
PIECE_BYTES_MAX = DATAGRAM_BYTES_MAX - HEADER_BYTES - COOKIE_BYTES - MAC_BYTES
# A projected ServiceAccount token has 1,000 to 1,500 bytes; four pieces carry this and the rest.
CREDENTIAL_BYTES_MAX = 4096
PEER_NAME_CHARS_MAX = 253
RECORD_KEY_CHARS_MAX = 512
# A filter is a list of key prefixes; a namespace or two is what one asks for.
PREFIXES_MAX = 16
# Two, so that one chunk is on its way while the next is put together at the other side.
CHUNKS_OUTSTANDING_MAX = 2
# What a receiver puts together at a time, so what a sender may have under way.
REASSEMBLIES_PER_PEER_MAX = 2
# The unacknowledged span of a sender, and what a receiver remembers to deliver exactly once.
DELIVERY_WINDOW = 4096
# Ranges in one acknowledgement: 16 holes at once mean a network that reorders everything.
ACK_RANGES_MAX = 16

# Numbers on the wire are below this, so that they survive signed 64-bit integers everywhere.
NUMBER_BITS = 62
NUMBER_MAX = 2**NUMBER_BITS

# --- Limits of this implementation -----------------------------------------------------------

# Datagrams reordered by more than this are lost: 8,192 at 100,000/s are 80 ms.
REPLAY_WINDOW = 8192
# In each lane. Beyond it a peer is too slow, and the caller hears of it.
QUEUED_MESSAGES_MAX = 1024
# Queued and unacknowledged together, each peer: 1,024 messages of 64 KiB would be 64 MiB.
QUEUED_BYTES_MAX = 4 * 1024 * 1024
# For all peers of a server: 128 of them sending two largest messages each at a time.
REASSEMBLY_BYTES_MAX = 16 * 1024 * 1024
# A message with room for its head and for one record that is larger than the rest.
CHUNK_BYTES_MAX = 60_000
RECORD_VALUE_BYTES_MAX = 56_000
# A cluster of Kubernetes has at most 5,000 nodes.
PEERS_MAX = 5000
# Handshakes answered and not yet confirmed: each holds some 6 KiB for 3 s at most.
UNCONFIRMED_MAX = 1024
# Greetings that wait for their Diffie-Hellmans, 0.3 ms each, and how many are served in a call.
HANDSHAKES_WAITING_MAX = 1024
HANDSHAKES_PER_CALL = 2
# INITIATIONs of which some pieces have come: 4.6 KB each.
PARTIAL_INITIATIONS_MAX = 256
# Handshakes remembered so as not to be served twice: 5 MiB. 1,000 peers dial far less often.
HANDSHAKES_REMEMBERED_MAX = 32_768
# Controllers have two or three replicas; each link costs a heartbeat a second.
SERVERS_MAX = 4
# Deletions are remembered so that a peer that was away gets them as deltas.
TOMBSTONES_MAX = 4096
# Links served per call while others wait: 16 are half a millisecond in which no wake is read.
DEFERRED_LINKS_PER_CALL = 16
DEFERRED_LINKS_BESIDE_URGENT = 4
