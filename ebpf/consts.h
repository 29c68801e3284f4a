/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers and enums. User space reads the enums by value: append only. */
#pragma once

#define FRONTENDS_MAX 65536	/* 10,000 services with a few addresses each */
#define SOURCES_MAX 65536	/* ranges: 1,000 services with all that a manifest may have; memory as used */
#define SLOTS_MAX 16384		/* services; a slot is 16 bytes, locked memory */
#define UNANSWERED_MAX 8192	/* replayed connections whose ACK is awaited: twice the daemon's held SYNs */
#define HELD_PAGES 256		/* 1 MiB: 5,000 plain SYNs, at 1 us each what a flood fills in 5 ms */
#define EVENTS_PAGES 64		/* 256 KiB: every entry of `unanswered` answered at once */
#define FRAME_BYTES_MAX 2048	/* a SYN with Fast Open data fits an Ethernet frame; power of two for the verifier */

#define HEADERS_BYTES_MAX 94	/* Ethernet 14, IPv4 60 at most, TCP's fixed 20 */

/* A daemon that is gone for good must not black-hole SYNs: hold only while it beats. */
#define HEARTBEAT_NS_MAX (30ULL * 1000 * 1000 * 1000)

/* What a service's SYNs meet. */
enum mode {
	MODE_HOLD,	/* to the daemon, which replays them later */
	MODE_PASS,
	MODE_SETTLE,	/* pass, and tell the daemon of the ACKs in `unanswered` */
	MODE_METER,	/* as settle, but new SYNs go in through the daemon: no more than the backlog takes */
};

/* Why a packet left the program. */
enum reason {
	REASON_TRUNCATED,	/* shorter than the header it claims */
	REASON_NOT_TCP,		/* not ours to judge */
	REASON_FRAGMENT,	/* only the first has ports, so pass them all */
	REASON_NOT_SERVICE,	/* no frontend of that address and port */
	REASON_PASSED,		/* a packet of a warm service, or of a live connection */
	REASON_HELD,		/* the frame is with the daemon */
	REASON_ANSWERED,	/* the ACK or RST of a replayed connection: passed, and told */
	REASON_RESENT,		/* a SYN already replayed: our replay (generic mode), or the client's retry */
	REASON_NO_DAEMON,	/* would be held, but no heartbeat: passed */
	REASON_RING_FULL,	/* would be held, but no room: dropped, the client retries */
	REASON_OVERSIZE,	/* would be held, but longer than FRAME_BYTES_MAX: dropped */
	REASON_OUTSIDE_RANGES,	/* its source is not in the frontend's loadBalancerSourceRanges: dropped */
	REASON_COUNT,
};
