/* SPDX-License-Identifier: GPL-2.0-only */
/* Shapes shared with user space, which takes them from BCC's table.Key and table.Leaf.
 * Wire fields keep network byte order, exactly as they lie in the packet. */
#pragma once

#include <uapi/linux/types.h>

/* IPv6, or IPv4 mapped into it (::ffff:a.b.c.d), so that one map serves both. */
struct address {
	__be32 word[4];
};

/* An address and port that callers use. */
struct frontend {
	struct address address;
	__be16 port;
	__u16 pad;	/* must be zero: hash maps compare every byte */
};
_Static_assert(sizeof(struct frontend) == 20, "packets.py packs it");

struct service {
	__u32 slot;	/* index into `activity` */
	__u16 mode;	/* enum mode */
	__u16 is_restricted;	/* of this frontend: only `sources` may call it */
};

/* A range of sources that may call a frontend. `prefix_bits` count from the frontend's first. */
struct source {
	__u32 prefix_bits;
	struct frontend frontend;
	struct address address;
};
_Static_assert(sizeof(struct source) == 40, "packets.py packs it");

struct activity {
	__u64 last_packet_ns;	/* CLOCK_MONOTONIC; 0: none yet */
	__u64 syns;		/* passed ones */
};

/* A connection, as the client's packets name it. */
struct flow {
	struct address client;
	struct address vip;
	__be16 client_port;
	__be16 vip_port;
};
_Static_assert(sizeof(struct flow) == 36, "packets.py packs it");

/* To the daemon: a frame that was held. `length` bytes of `frame` follow. */
struct held_syn {
	__u64 seen_ns;
	__u32 ifindex;
	__u32 rx_queue;
	__u32 length;
	__u8 frame[FRAME_BYTES_MAX];
} __attribute__((packed));

/* To the daemon: a replayed connection was answered by its client. */
struct answered {
	__u64 seen_ns;
	struct flow flow;
	__u32 is_reset;	/* the client gave up: RST instead of ACK */
};

/* To the daemon: a process began to listen. */
struct listened {
	__u64 seen_ns;
	__u32 pid;	/* thread group, in the initial pid namespace */
	__u16 port;	/* host byte order, as the tracepoint has it */
	__u16 family;
	__u8 address[16];	/* IPv4 mapped */
};
