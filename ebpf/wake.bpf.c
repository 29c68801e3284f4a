/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds the SYNs of services at zero, passes everything else. Reads as a list of questions, which
 * two programs ask: XDP for callers from outside, tc for those on this node. */
#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>
#include "consts.h"
#include "structs.h"
#include "maps.h"
#include "parse.h"

/* The one exit, so counters always add up to packets. Returns whether to drop. Pass on doubt. */
static __always_inline bool leave(u32 reason)
{
	u64 *count = reasons.lookup(&reason);

	if (count)
		*count += 1;
	return reason == REASON_HELD || reason == REASON_RING_FULL || reason == REASON_OVERSIZE ||
	       reason == REASON_OUTSIDE_RANGES;
}

enum hook { HOOK_XDP, HOOK_TC };

/* `hook` is a constant in each program, so the other's helper, which the verifier would refuse, is
 * not compiled in. */
static __always_inline long copy_frame(struct packet *p, void *to, u32 length, enum hook hook)
{
	if (hook == HOOK_XDP)
		return bpf_xdp_load_bytes(p->ctx, 0, to, length);
	return bpf_skb_load_bytes(p->ctx, 0, to, length);
}

static __always_inline bool daemon_beats(u64 now_ns)
{
	u32 zero = 0;
	u64 *beat_ns = heartbeat.lookup(&zero);

	/* The beat may be newer than our clock reading by a hair: compare signed. */
	return beat_ns && (s64)(now_ns - *beat_ns) < (s64)HEARTBEAT_NS_MAX;
}

/* Hands the whole frame to the daemon: the SYN-ACK must answer what the client offered. */
static __always_inline enum reason hold(struct packet *p, u64 now_ns, enum hook hook)
{
	u32 zero = 0;
	u32 length = p->length;
	struct held_syn *syn = scratch.lookup(&zero);

	if (!daemon_beats(now_ns))
		return REASON_NO_DAEMON;
	if (!syn || length >= FRAME_BYTES_MAX)
		return REASON_OVERSIZE;
	asm volatile("" : "+r"(length));	/* or clang drops the mask, and the verifier the bound */
	length &= FRAME_BYTES_MAX - 1;
	if (length < sizeof(struct ethhdr) || copy_frame(p, syn->frame, length, hook))
		return REASON_TRUNCATED;
	syn->seen_ns = now_ns;
	syn->ifindex = p->ifindex;
	syn->rx_queue = p->rx_queue;
	syn->length = length;
	if (held.ringbuf_output(syn, sizeof(*syn) - FRAME_BYTES_MAX + length, 0))
		return REASON_RING_FULL;
	return REASON_HELD;
}

/* The server listens already: what the daemon cannot take tries its luck at the backlog. */
static __always_inline enum reason meter(struct packet *p, u64 now_ns, enum hook hook)
{
	enum reason reason = hold(p, now_ns, hook);

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

/* kube-proxy would ask the same, but behind the handover. */
static __always_inline bool may_call(struct frontend *frontend, struct address *client)
{
	struct source source = {
		.prefix_bits = 8 * (sizeof(source.frontend) + sizeof(source.address)),
		.frontend = *frontend,
		.address = *client,
	};

	return sources.lookup(&source);
}

static __always_inline enum reason judge(struct packet *p, enum hook hook)
{
	struct frontend frontend = {};
	struct segment s = {};
	struct service *service;
	enum reason reason;
	bool is_syn;
	u64 now_ns;

	reason = parse_segment(&p->headers, &s);
	if (reason != REASON_COUNT && reason != REASON_FRAGMENT)
		return reason;
	frontend.address = s.flow.vip;
	frontend.port = s.flow.vip_port;
	service = services.lookup(&frontend);
	/* Without its first fragment no datagram is put together again: the others may pass. */
	if (service && service->is_restricted && !may_call(&frontend, &s.flow.client))
		return REASON_OUTSIDE_RANGES;
	if (reason == REASON_FRAGMENT)
		return reason;
	if (!service)
		return REASON_NOT_SERVICE;
	now_ns = bpf_ktime_get_ns();
	/* With RST or FIN no listener would answer it: a stray scan must not wake everything. */
	is_syn = s.tcp->syn && !s.tcp->ack && !s.tcp->rst && !s.tcp->fin;
	if (is_syn && service->mode == MODE_HOLD)
		return hold(p, now_ns, hook);
	note_activity(service->slot, is_syn, now_ns);
	if (is_syn && service->mode == MODE_METER && !unanswered.lookup(&s.flow))
		return meter(p, now_ns, hook);
	if (service->mode == MODE_SETTLE || service->mode == MODE_METER)
		return settle(&s, now_ns);
	return REASON_PASSED;
}

/* Callers from outside: on the node's interface. */
int wangell_wake(struct xdp_md *ctx)
{
	struct packet p = {
		.headers = { (void *)(long)ctx->data, (void *)(long)ctx->data_end },
		.ctx = ctx,
		.length = ctx->data_end - ctx->data,
		.ifindex = ctx->ingress_ifindex,
		.rx_queue = ctx->rx_queue_index,
	};

	return leave(judge(&p, HOOK_XDP)) ? XDP_DROP : XDP_PASS;
}

/* Callers on this node: tc ingress of their interface's end here. What it does not hold goes on to
 * whatever filters the node's network has there, which TC_ACT_OK would skip. */
int wangell_call(struct __sk_buff *skb)
{
	struct packet p = {};

	/* A tag that the card would have taken off again: replayed, the frame would have lost it. */
	if (skb->vlan_present)
		return leave(REASON_NOT_TCP) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	/* Some drivers (virtual machines' taps) leave headers out of the first piece. */
	if (skb->data_end - skb->data < HEADERS_BYTES_MAX && skb->len > skb->data_end - skb->data)
		bpf_skb_pull_data(skb, skb->len < HEADERS_BYTES_MAX ? skb->len : HEADERS_BYTES_MAX);
	p.headers.pos = (void *)(long)skb->data;
	p.headers.end = (void *)(long)skb->data_end;
	p.ctx = skb;
	p.length = skb->len;
	p.ifindex = skb->ifindex;
	/* Always there; which one it was, nobody needs to know again. */
	p.rx_queue = 0;
	return leave(judge(&p, HOOK_TC)) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* What replays run: the frame enters the stack as if it had just arrived. No more once its client has
 * answered, which the daemon may be about to read: a connection that has ended since would open anew,
 * and the client, who knows nothing of that, would draw an RST from the server. */
int wangell_replay(struct xdp_md *ctx)
{
	struct cursor headers = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	struct segment s = {};

	parse_segment(&headers, &s);
	return unanswered.lookup(&s.flow) ? XDP_PASS : XDP_DROP;
}
