/* SPDX-License-Identifier: GPL-2.0-only */
/* Tells the daemon of each TCP socket that begins to listen, in the server's own context: no polling. */
#include <uapi/linux/bpf.h>
#include <uapi/linux/in.h>
#include "consts.h"
#include "structs.h"

#define TCP_LISTEN 10	/* include/net/tcp_states.h; part of the kernel's ABI through sock_diag */

#define CALLING_MAX 1024	/* threads within listen() at a time: more than a node starts at once */

/* Program to daemon. */
BPF_RINGBUF_OUTPUT(listens, EVENTS_PAGES);
/* By thread within listen(): what listens by now, or all zero. */
BPF_TABLE("lru_hash", __u64, struct listened, calling, CALLING_MAX);

/* The state comes first, and only then is the socket where a SYN finds it: a server that loses its CPU in between
 * would answer what is let in with RST. So what is told waits for the end of the call. */
TRACEPOINT_PROBE(syscalls, sys_enter_listen)
{
	struct listened none = {};
	__u64 thread = bpf_get_current_pid_tgid();

	calling.update(&thread, &none);
	return 0;
}

TRACEPOINT_PROBE(sock, inet_sock_set_state)
{
	struct listened event = {};
	__u64 thread = bpf_get_current_pid_tgid();

	if (args->protocol != IPPROTO_TCP)
		return 0;
	if (args->newstate == TCP_LISTEN) {
		event.seen_ns = bpf_ktime_get_ns();
		event.pid = thread >> 32;
		event.port = args->sport;
		event.family = args->family;
		__builtin_memcpy(event.address, args->saddr_v6, sizeof(event.address));
	} else if (args->oldstate != TCP_LISTEN) {
		return 0;
	}
	if (calling.lookup(&thread))
		calling.update(&thread, &event);	/* All zero again where listen() has failed. */
	else if (event.pid)	/* By io_uring, or by a 32-bit program, whose calls are not traced. */
		listens.ringbuf_output(&event, sizeof(event), 0);
	return 0;
}

TRACEPOINT_PROBE(syscalls, sys_exit_listen)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct listened *found = calling.lookup(&thread);
	struct listened event;

	if (!found)
		return 0;
	event = *found;
	calling.delete(&thread);
	if (event.pid)
		listens.ringbuf_output(&event, sizeof(event), 0);
	return 0;
}
