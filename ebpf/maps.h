/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory shared by the kernel and the daemon: who writes, who reads, when an entry dies. */
#pragma once

/* Daemon writes and deletes, program reads. One for each address and port. */
BPF_HASH(services, struct frontend, struct service, FRONTENDS_MAX);

/* Daemon writes and deletes, program reads for a frontend that is restricted. The value means nothing. */
BPF_LPM_TRIE(sources, struct source, u32, SOURCES_MAX);

/* Program writes, daemon reads, through a mapping of its memory: one second's look at 10,000
 * services costs no system call. A slot that changes hands is not reset: what is older than the
 * service is ignored. A plain store from several CPUs may lose one to another of the same
 * microsecond, which is the same answer. */
BPF_F_TABLE("array", u32, struct activity, activity, SLOTS_MAX, BPF_F_MMAPABLE);

/* Daemon writes before it replays; the client's first packet deletes, or the daemon when it gives up.
 * What is not in it enters no more. */
BPF_HASH(unanswered, struct flow, u32, UNANSWERED_MAX);

/* Daemon writes each second, program reads on the hold path alone. */
BPF_ARRAY(heartbeat, u64, 1);

/* Program counts, daemon reads. Per CPU, so a plain add is enough. */
BPF_PERCPU_ARRAY(reasons, u64, REASON_COUNT);

/* Where a frame is put together: too large for the stack of 512 bytes. */
BPF_PERCPU_ARRAY(scratch, struct held_syn, 1);

/* Program to daemon. */
BPF_RINGBUF_OUTPUT(held, HELD_PAGES);
BPF_RINGBUF_OUTPUT(answers, EVENTS_PAGES);
