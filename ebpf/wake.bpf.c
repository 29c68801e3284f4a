/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds the SYNs of services at zero, passes everything else. Reads as a list of questions. */
#include <uapi/linux/bpf.h>
#include "consts.h"
#include "structs.h"
#include "maps.h"
#include "parse.h"

/* The only place that returns an action, so counters always add up to packets. Pass on doubt. */
static __always_inline int leave(u32 reason)
{
	u64 *count = reasons.lookup(&reason);

	if (count)
		*count += 1;
	switch (reason) {
	case REASON_HELD:
	case REASON_RING_FULL:
	case REASON_OVERSIZE:
		return XDP_DROP;
	}
	return XDP_PASS;
}

static __always_inline bool daemon_beats(u64 now_ns)
{
	u32 zero = 0;
	u64 *beat_ns = heartbeat.lookup(&zero);

	/* The beat may be newer than our clock reading by a hair: compare signed. */
	return beat_ns && (s64)(now_ns - *beat_ns) < (s64)HEARTBEAT_NS_MAX;
}

/* Hands the whole frame to the daemon: the SYN-ACK must answer what the client offered. */
static __always_inline enum reason hold(struct xdp_md *ctx, u64 now_ns)
{
	u32 zero = 0;
	u32 length = ctx->data_end - ctx->data;
	struct held_syn *syn = scratch.lookup(&zero);

	if (!daemon_beats(now_ns))
		return REASON_NO_DAEMON;
	if (!syn || length >= FRAME_BYTES_MAX)
		return REASON_OVERSIZE;
	asm volatile("" : "+r"(length));	/* or clang drops the mask, and the verifier the bound */
	length &= FRAME_BYTES_MAX - 1;
	if (length < sizeof(struct ethhdr) || bpf_xdp_load_bytes(ctx, 0, syn->frame, length))
		return REASON_TRUNCATED;
	syn->seen_ns = now_ns;
	syn->ifindex = ctx->ingress_ifindex;
	syn->rx_queue = ctx->rx_queue_index;
	syn->length = length;
	if (held.ringbuf_output(syn, sizeof(*syn) - FRAME_BYTES_MAX + length, 0))
		return REASON_RING_FULL;
	return REASON_HELD;
}

/* The server listens already: what the daemon cannot take tries its luck at the backlog. */
static __always_inline enum reason meter(struct xdp_md *ctx, u64 now_ns)
{
	enum reason reason = hold(ctx, now_ns);

	return reason == REASON_HELD ? reason : REASON_PASSED;
}

/* While replays are out: is this their client's answer, or the same SYN once more? */
static __always_inline enum reason settle(struct segment *s, u64 now_ns)
{
	struct answered event = {};

	if (!unanswered.lookup(&s->flow))
		return REASON_PASSED;
	if (s->tcp->syn)
		return REASON_RESENT;
	if (!s->tcp->ack && !s->tcp->rst)
		return REASON_PASSED;
	if (unanswered.delete(&s->flow))
		return REASON_PASSED;	/* another CPU was first, and told */
	event.seen_ns = now_ns;
	event.flow = s->flow;
	event.is_reset = s->tcp->rst;
	answers.ringbuf_output(&event, sizeof(event), 0);
	return REASON_ANSWERED;
}

static __always_inline void note_activity(u32 slot, bool is_syn, u64 now_ns)
{
	struct activity *seen = activity.lookup(&slot);

	if (!seen)
		return;
	seen->last_packet_ns = now_ns;
	if (is_syn)
		lock_xadd(&seen->syns, 1);
}

int wangell_wake(struct xdp_md *ctx)
{
	struct cursor c = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	struct frontend frontend = {};
	struct segment s = {};
	struct service *service;
	enum reason reason;
	bool is_syn;
	u64 now_ns;

	reason = parse_segment(&c, &s);
	if (reason != REASON_COUNT)
		return leave(reason);
	frontend.address = s.flow.vip;
	frontend.port = s.flow.vip_port;
	service = services.lookup(&frontend);
	if (!service)
		return leave(REASON_NOT_SERVICE);
	now_ns = bpf_ktime_get_ns();
	/* With RST or FIN no listener would answer it: a stray scan must not wake everything. */
	is_syn = s.tcp->syn && !s.tcp->ack && !s.tcp->rst && !s.tcp->fin;
	if (is_syn && service->mode == MODE_HOLD)
		return leave(hold(ctx, now_ns));
	note_activity(service->slot, is_syn, now_ns);
	if (is_syn && service->mode == MODE_METER && !unanswered.lookup(&s.flow))
		return leave(meter(ctx, now_ns));
	if (service->mode == MODE_SETTLE || service->mode == MODE_METER)
		return leave(settle(&s, now_ns));
	return leave(REASON_PASSED);
}

/* What replays run: the frame enters the stack as if it had just arrived. */
int wangell_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
