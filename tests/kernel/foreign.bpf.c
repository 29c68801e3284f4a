/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs of somebody else's, where ours are to be. */
#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>

int foreign_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

int foreign_drop(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}
