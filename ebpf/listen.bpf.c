/* SPDX-License-Identifier: GPL-2.0-only */
/* Tells the daemon of each TCP socket that begins to listen, in the server's own context: no polling. */
#include <uapi/linux/bpf.h>
#include <uapi/linux/in.h>
#include "consts.h"
#include "structs.h"

#define TCP_LISTEN 10	/* include/net/tcp_states.h; part of the kernel's ABI through sock_diag */

/* Program to daemon. */
BPF_RINGBUF_OUTPUT(listens, EVENTS_PAGES);

TRACEPOINT_PROBE(sock, inet_sock_set_state)
{
	struct listened event = {};

	if (args->newstate != TCP_LISTEN || args->protocol != IPPROTO_TCP)
		return 0;
	event.seen_ns = bpf_ktime_get_ns();
	event.pid = bpf_get_current_pid_tgid() >> 32;
	event.port = args->sport;
	event.family = args->family;
	__builtin_memcpy(event.address, args->saddr_v6, sizeof(event.address));
	listens.ringbuf_output(&event, sizeof(event), 0);
	return 0;
}
