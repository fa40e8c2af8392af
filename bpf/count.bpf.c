/* What containers send and receive, on the host's ends of their veth pairs: for kernels whose tracepoints cannot be used.
 * It needs no types of the kernel's own. */
#include "kernel.h"
#include "flow.h"

#define IPV4 HTONS(0x0800)
#define IPV6 HTONS(0x86dd)
#define ETHERNET_HEADER 14

/* The owner of a flow is the number of an interface. */
TABLE(count_flows, BPF_MAP_TYPE_PERCPU_HASH, 16384, struct flow, struct traffic);
/* Of those for which `count_flows` has no room. */
TABLE(count_rest, BPF_MAP_TYPE_PERCPU_HASH, 8192, struct end, struct traffic);

static ALWAYS_INLINE void read_peer(struct __sk_buff *skb, struct flow *flow)
{
	if (skb->protocol == IPV4) {
		u8 header[20];
		if (bpf_skb_load_bytes(skb, ETHERNET_HEADER, header, sizeof(header)))
			return;
		flow->protocol = header[9];
		flow->peer.bytes[10] = flow->peer.bytes[11] = 0xff;
		__builtin_memcpy(flow->peer.bytes + 12, header + (flow->direction == SENT ? 16 : 12), 4);
		flow->is_ip = 1;
	} else if (skb->protocol == IPV6) {
		u8 header[40];
		if (bpf_skb_load_bytes(skb, ETHERNET_HEADER, header, sizeof(header)))
			return;
		flow->protocol = header[6];
		__builtin_memcpy(flow->peer.bytes, header + (flow->direction == SENT ? 24 : 8), 16);
		flow->is_ip = 1;
	}
}

static ALWAYS_INLINE int count(struct __sk_buff *skb, u8 direction)
{
	struct flow flow = { .owner = skb->ifindex, .direction = direction };
	struct end end = { .owner = skb->ifindex, .direction = direction };
	struct traffic none = {};
	read_peer(skb, &flow);
	struct traffic *traffic = bpf_map_lookup_elem(&count_flows, &flow);
	if (!traffic) {
		bpf_map_update_elem(&count_flows, &flow, &none, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&count_flows, &flow);
	}
	if (!traffic) {
		bpf_map_update_elem(&count_rest, &end, &none, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&count_rest, &end);
	}
	if (traffic) {
		traffic->bytes += skb->len;
		traffic->packets += 1;
		traffic->segments += skb->gso_segs ? skb->gso_segs : 1;
	}
	return TC_ACT_UNSPEC;
}

/* What comes in at the host's end, the container sent. */
SEC("classifier")
int count_sent(struct __sk_buff *skb)
{
	return count(skb, SENT);
}

SEC("classifier")
int count_received(struct __sk_buff *skb)
{
	return count(skb, RECEIVED);
}

char _license[] SEC("license") = "Dual MIT/GPL";
