/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading packets. A parser checks bounds once, moves the cursor, and returns NULL when short. */
#pragma once

#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/tcp.h>

#ifndef NULL
#define NULL ((void *)0)
#endif
#define IP_FRAGMENT_MASK 0x3fff	/* more-fragments flag and offset */
#define IP_OFFSET_MASK 0x1fff
#define to_be16(x) ((__be16)__builtin_bswap16(x))
#define to_be32(x) ((__be32)__builtin_bswap32(x))

struct cursor {
	void *pos;
	void *end;
};

/* A frame on its way in, whichever hook it was seen at. */
struct packet {
	struct cursor headers;	/* at the Ethernet header; the end is that of what lies in one piece */
	void *ctx;	/* struct xdp_md or struct __sk_buff, for the helper that copies the frame */
	u32 length;	/* of the whole frame */
	u32 ifindex;
	u32 rx_queue;
};

/* What the program asks of a packet. Filled by one parse_ip*() for each family. */
struct segment {
	struct flow flow;
	struct tcphdr *tcp;
};

/* Its head, which the first fragment of a datagram always has. */
struct ports {
	__be16 source;
	__be16 dest;
};

static __always_inline struct ethhdr *parse_eth(struct cursor *c)
{
	struct ethhdr *eth = c->pos;

	if ((void *)(eth + 1) > c->end)
		return NULL;
	c->pos = eth + 1;
	return eth;
}

static __always_inline struct iphdr *parse_ip4(struct cursor *c)
{
	struct iphdr *ip = c->pos;

	if ((void *)(ip + 1) > c->end || ip->ihl < 5)
		return NULL;
	c->pos += ip->ihl * 4;	/* options are skipped, not read */
	return ip;
}

static __always_inline struct ports *parse_ports(struct cursor *c)
{
	struct ports *ports = c->pos;

	if ((void *)(ports + 1) > c->end)
		return NULL;
	return ports;	/* the cursor stays: they are the TCP header's first fields */
}

static __always_inline struct tcphdr *parse_tcp(struct cursor *c)
{
	struct tcphdr *tcp = c->pos;

	if ((void *)(tcp + 1) > c->end)
		return NULL;
	return tcp;
}

static __always_inline void map_ip4(struct address *address, __be32 ip4)
{
	address->word[2] = to_be32(0xffff);
	address->word[3] = ip4;
}

/* The family's parsers meet here, so the programs below never see which it was. A first fragment
 * leaves with its flow filled in, without `tcp`. */
static __always_inline enum reason parse_segment(struct cursor *c, struct segment *s)
{
	struct ethhdr *eth = parse_eth(c);
	struct ports *ports;
	struct iphdr *ip;

	if (!eth)
		return REASON_TRUNCATED;
	if (eth->h_proto != to_be16(ETH_P_IP))
		return REASON_NOT_TCP;
	ip = parse_ip4(c);
	if (!ip)
		return REASON_TRUNCATED;
	if (ip->protocol != IPPROTO_TCP)
		return REASON_NOT_TCP;
	if (ip->frag_off & to_be16(IP_OFFSET_MASK))
		return REASON_FRAGMENT;
	ports = parse_ports(c);
	if (!ports)
		return REASON_TRUNCATED;
	map_ip4(&s->flow.client, ip->saddr);
	map_ip4(&s->flow.vip, ip->daddr);
	s->flow.client_port = ports->source;
	s->flow.vip_port = ports->dest;
	if (ip->frag_off & to_be16(IP_FRAGMENT_MASK))
		return REASON_FRAGMENT;
	s->tcp = parse_tcp(c);
	return s->tcp ? REASON_COUNT : REASON_TRUNCATED;	/* COUNT: no reason to leave yet */
}
