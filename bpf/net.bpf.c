/* Who talks to whom, how fast and with what loss: programs at the kernel's tracepoints, once per host however many containers
 * it has. All is added up here; user space reads the sums once per interval, and nothing is sent per packet.
 *
 *   container A                     host                      container B
 *   queue (sent, stamp) ──► veth ──► bridge ──► veth queue ──► receive (received, latency)
 *
 * An interface that belongs to a bridge, a macvlan or a tunnel is a part of the way, wherever it is; packets are counted at
 * the others, the ends. Each kind of entry has a bounded table. What finds no place in it is counted in `rest` or `lost`. */
#include "kernel_types.h"
#include "flow.h"

#define AF_INET 2
#define AF_INET6 10
#define IFF_LOOPBACK 8
#define IPV4 HTONS(0x0800)
#define IPV6 HTONS(0x86dd)
#define TCP 6
#define UDP 17
#define MSG_PEEK 2
#define PACKET_LOOPBACK 5

/* States of TCP, from net/tcp_states.h. */
#define ESTABLISHED 1
#define SYN_SENT 2
#define SYN_RECV 3
#define CLOSE 7
#define LISTEN 10
#define NEW_SYN_RECV 12

/* A stamp older than this is of a packet that went elsewhere. */
#define LONGEST_WAY_NS 60000000000ULL
/* Within this time a packet is taken for the same one, still on its way. */
#define SAME_PACKET_NS 1000000000ULL
/* The largest packet that is stamped for one-way latency between hosts: larger ones are cut and joined on the way. */
#define LARGEST_STAMPED 512
#define STAMP_BUCKETS 16
/* 2^64 by the golden ratio: a product with it spreads what differs over the upper bits. */
#define SPREAD 0x9e3779b97f4a7c15ULL

/* Known when the programs are loaded; src/ebpf/net.rs sets them. */
const volatile u32 host_netns = 0;
const volatile u32 cgroups_v1 = 0;

/* As src/ebpf/net.rs writes it, whenever the rules change. */
enum { LATENCY = 1, HOPS = 2, OVERLAY = 4, STAMPS = 8, SELECTED = 16, PORTS = 32 };
struct settings {
	u32 flags;
	u32 latency_mask; /* one packet in so many, less one, a power of two: which ones, `is_sampled` says */
	u32 rtt_mask;
	u32 unused;
	u64 to_wall_ns; /* added to CLOCK_MONOTONIC gives unix time */
	u64 epoch_ns;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct settings);
} net_settings SEC(".maps");

/* Whose traffic it is: the number of a network namespace, or of a cgroup with the highest bit set. */
#define OF_CGROUP (1ULL << 63)

/* Whom the rules select, and which ports (host byte order). */
TABLE(net_selected, BPF_MAP_TYPE_HASH, 8192, u64, u32);
TABLE(net_ports, BPF_MAP_TYPE_HASH, 64, u32, u32);
/* The cgroups of containers on the host's network. */
TABLE(net_cgroups, BPF_MAP_TYPE_HASH, 4096, u64, u32);

TABLE(net_flows, BPF_MAP_TYPE_PERCPU_HASH, 16384, struct flow, struct traffic);
/* The same of packets of IPv4, most there are: a shorter key is found in less time. */
struct flow_ipv4 {
	u32 netns;
	u8 peer[4];
	u8 protocol, direction;
	u8 unused[2];
};
TABLE(net_flows_ipv4, BPF_MAP_TYPE_PERCPU_HASH, 16384, struct flow_ipv4, struct traffic);
/* Of peers for which neither has room. */
TABLE(net_rest, BPF_MAP_TYPE_PERCPU_HASH, 8192, struct end, struct traffic);

/* Timed packets on their way, by a hash of what does not change on it. */
struct stamp {
	u64 sent_ns;
	u64 veth_ns;  /* when the host first received it */
	u64 queue_ns; /* when the host last queued it */
	u32 netns;
	u32 unused;
};
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 16384);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, struct stamp);
} net_stamps SEC(".maps");

enum { END_TO_END, CONTAINER, BRIDGE, VETH, TO_OVERLAY };
struct pair {
	u32 from, to, hop;
};
#define BUCKETS 64
struct latency {
	u64 sum_ns, max_ns;
	u32 buckets[BUCKETS];
};
TABLE(net_latency, BPF_MAP_TYPE_PERCPU_HASH, 8192, struct pair, struct latency);

/* Times of packets by a clock that several hosts share: src/model/network/one_way.rs says what for. */
struct epoch {
	u64 begins;
	struct bytes16 peer;
	u32 netns;
	u8 direction, bucket;
	u8 unused[2];
};
struct times {
	u64 count, sum_ns;
};
TABLE(net_epochs, BPF_MAP_TYPE_PERCPU_HASH, 16384, struct epoch, struct times);

struct tcp_pair {
	u64 owner;
	struct bytes16 peer;
};
struct tcp_counts {
	u64 retransmits, rtt_samples, rtt_sum_us, opened, accepted, refused, closed;
};
TABLE(net_tcp, BPF_MAP_TYPE_PERCPU_HASH, 16384, struct tcp_pair, struct tcp_counts);
/* Sockets on the host's network and whose they are: what happens to one later happens in nobody's context. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 8192);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, u64);
} net_sockets SEC(".maps");

struct drop {
	u32 netns, reason;
	struct bytes16 from, to;
};
TABLE(net_drops, BPF_MAP_TYPE_PERCPU_HASH, 8192, struct drop, u64);

/* What found no place: packets beyond even `net_rest`; timed packets, TCP events, drops. */
enum { LOST_FLOWS, LOST_LATENCY, LOST_TCP, LOST_DROPS, LOST_KINDS };
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, LOST_KINDS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} net_lost SEC(".maps");

static ALWAYS_INLINE void lose(u32 kind)
{
	u64 *count = bpf_map_lookup_elem(&net_lost, &kind);
	if (count)
		*count += 1;
}

/* The entry under `key`, made as zeros where there is none; none where there is no room. */
#define ENTRY(map, key, type)                                                                                                  \
	({                                                                                                                     \
		type *entry = bpf_map_lookup_elem(&map, key);                                                                  \
		if (!entry) {                                                                                                  \
			type zero;                                                                                             \
			__builtin_memset(&zero, 0, sizeof(zero));                                                              \
			bpf_map_update_elem(&map, key, &zero, BPF_NOEXIST);                                                    \
			entry = bpf_map_lookup_elem(&map, key);                                                                \
		}                                                                                                              \
		entry;                                                                                                         \
	})

static ALWAYS_INLINE struct settings *settings(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&net_settings, &zero);
}

static ALWAYS_INLINE void mapped(struct bytes16 *address, const u8 *ipv4)
{
	address->bytes[10] = address->bytes[11] = 0xff;
	__builtin_memcpy(address->bytes + 12, ipv4, 4);
}

/* A packet's network header and the beginning of what it carries. */
struct packet {
	struct bytes16 from, to;
	u8 protocol, is_ip;
	u16 unused;
	/* What of the header stays the same all the way: the length, and of IPv4 the id. */
	u32 kept;
	u32 carried[5];
};

/* Where a packet that is sent has it. */
static ALWAYS_INLINE unsigned char *header_of(struct sk_buff *skb)
{
	return skb->head + skb->network_header;
}

static NEVER_INLINE void read_packet(struct sk_buff *skb, unsigned char *at, struct packet *packet)
{
	u16 kind = skb->protocol;
	u16 length;
	if (kind == IPV4) {
		struct {
			u8 version, tos;
			u16 length, id, fragment;
			u8 ttl, protocol;
			u16 checksum;
			u8 from[4], to[4];
			u32 carried[5];
		} ip;
		if (bpf_probe_read_kernel(&ip, sizeof(ip), at))
			return;
		packet->protocol = ip.protocol;
		mapped(&packet->from, ip.from);
		mapped(&packet->to, ip.to);
		__builtin_memcpy(packet->carried, ip.carried, sizeof(ip.carried));
		packet->kept = (u32)ip.id << 16 | ip.length;
		length = HTONS(ip.length) - 20;
	} else if (kind == IPV6) {
		struct {
			u32 version;
			u16 length;
			u8 protocol, hops;
			struct bytes16 from, to;
			u32 carried[5];
		} ip;
		if (bpf_probe_read_kernel(&ip, sizeof(ip), at))
			return;
		packet->protocol = ip.protocol;
		packet->from = ip.from;
		packet->to = ip.to;
		__builtin_memcpy(packet->carried, ip.carried, sizeof(ip.carried));
		packet->kept = ip.length;
		length = HTONS(ip.length);
	} else {
		return;
	}
	packet->is_ip = 1;
	/* Of a short datagram, what lies behind its end is not its content. */
	if (length < sizeof(packet->carried))
		packet->carried[2] = packet->carried[3] = packet->carried[4] = 0;
}

/* Of the content, what tells two packets of a flow apart and stays the same from the sender's interface to the receiver's, on
 * whatever host: of TCP sequence and acknowledgement, of ICMP id, number and the sender's time, of UDP the data. No checksum,
 * which hardware or the tunnel fills in. */
static ALWAYS_INLINE u64 content_of(const struct packet *packet)
{
	return (u64)packet->carried[packet->protocol == UDP ? 3 : 1] << 32 | packet->carried[2];
}

/* Whether it is one of those that are timed: the same for the sender and the receiver, and cheaper than all of the hash. */
static ALWAYS_INLINE int is_sampled(const struct settings *set, const struct packet *packet)
{
	u64 word = content_of(packet) ^ ((u64)packet->kept << 32 | packet->carried[0]);
	/* A product spreads upwards only: what is above the bits looked at is brought below them first. */
	word = (word >> 32) * SPREAD ^ word;
	return packet->is_ip && !((word * SPREAD >> 40) & set->latency_mask);
}

static ALWAYS_INLINE u64 mix(u64 hash, u64 word)
{
	hash = (hash ^ word) * SPREAD;
	return hash ^ (hash >> 29);
}

/* By which a packet is known again wherever it comes by. */
static NEVER_INLINE u64 hash_of(const struct packet *packet)
{
	u64 addresses[4];
	__builtin_memcpy(addresses, &packet->from, 16);
	__builtin_memcpy(addresses + 2, &packet->to, 16);
	u64 hash = mix((u64)packet->kept << 8 | packet->protocol, addresses[0] ^ addresses[1]);
	hash = mix(hash, addresses[2] ^ addresses[3]);
	u64 last = packet->protocol == UDP ? packet->carried[4] : 0;
	hash = mix(hash, last << 32 | packet->carried[0]);
	return mix(hash, content_of(packet));
}

static ALWAYS_INLINE u32 netns_of(const struct net_device *dev)
{
	return dev->nd_net.net->ns.inum;
}

static ALWAYS_INLINE int is_selected(const struct settings *set, u64 owner)
{
	return !(set->flags & SELECTED) || bpf_map_lookup_elem(&net_selected, &owner);
}

static ALWAYS_INLINE int port_is_wanted(u32 port)
{
	return bpf_map_lookup_elem(&net_ports, &port) != 0;
}

/* Whether one of its ports is among those of the rules. */
static ALWAYS_INLINE int has_wanted_port(const struct packet *packet)
{
	if (packet->protocol != TCP && packet->protocol != UDP)
		return 0;
	return port_is_wanted(HTONS((u16)packet->carried[0])) || port_is_wanted(HTONS((u16)(packet->carried[0] >> 16)));
}

static ALWAYS_INLINE u32 segments_of(struct sk_buff *skb)
{
	struct skb_shared_info *shared = (void *)(skb->head + skb->end);
	u16 segments = 0;
	/* What was joined, or is to be cut, lies in several pieces. */
	if (!skb->data_len)
		return 1;
	READ(segments, shared->gso_segs);
	return segments ? segments : 1;
}

/* Adds to what an end has with a peer; where there was no room for that, to its `rest`. */
static ALWAYS_INLINE void add(struct traffic *traffic, const struct end *end, u64 bytes, u64 packets, u64 segments)
{
	if (!traffic)
		traffic = ENTRY(net_rest, end, struct traffic);
	if (!traffic)
		return lose(LOST_FLOWS);
	traffic->bytes += bytes;
	traffic->packets += packets;
	traffic->segments += segments;
}

static NEVER_INLINE void count(const struct flow *flow, u64 bytes, u64 packets, u64 segments)
{
	struct end end = { .owner = flow->owner, .direction = flow->direction };
	add(ENTRY(net_flows, flow, struct traffic), &end, bytes, packets, segments);
}

static ALWAYS_INLINE void count_packet(struct sk_buff *skb, const struct packet *packet, u32 netns, u8 direction, u64 bytes)
{
	const struct bytes16 *peer = direction == SENT ? &packet->to : &packet->from;
	if (packet->is_ip && skb->protocol == IPV4) {
		struct end end = { .owner = netns, .direction = direction };
		struct flow_ipv4 flow = { .netns = netns, .direction = direction, .protocol = packet->protocol };
		__builtin_memcpy(flow.peer, peer->bytes + 12, 4);
		return add(ENTRY(net_flows_ipv4, &flow, struct traffic), &end, bytes, 1, segments_of(skb));
	}
	struct flow flow = { .owner = netns, .direction = direction, .protocol = packet->protocol, .is_ip = packet->is_ip };
	flow.peer = *peer;
	count(&flow, bytes, 1, segments_of(skb));
}

/* Two buckets to each power of two, the first below 384 ns. */
static ALWAYS_INLINE u32 bucket_of(u64 ns)
{
	u32 log = 0;
	u64 rest = ns;
	if (rest >> 32) { log += 32; rest >>= 32; }
	if (rest >> 16) { log += 16; rest >>= 16; }
	if (rest >> 8) { log += 8; rest >>= 8; }
	if (rest >> 4) { log += 4; rest >>= 4; }
	if (rest >> 2) { log += 2; rest >>= 2; }
	if (rest >> 1) log += 1;
	if (log < 8)
		return 0;
	u32 bucket = 2 * (log - 8) + ((ns >> (log - 1)) & 1);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static NEVER_INLINE void note_latency(u32 from, u32 to, u32 hop, u64 ns)
{
	struct pair pair = { .from = from, .to = to, .hop = hop };
	struct latency *latency = ENTRY(net_latency, &pair, struct latency);
	if (!latency)
		return lose(LOST_LATENCY);
	latency->sum_ns += ns;
	if (ns > latency->max_ns)
		latency->max_ns = ns;
	latency->buckets[bucket_of(ns) & (BUCKETS - 1)] += 1;
}

static NEVER_INLINE void note_time(const struct settings *set, struct sk_buff *skb, const struct packet *packet, u32 netns,
				    u8 direction)
{
	if (!(set->flags & STAMPS) || !set->epoch_ns || skb->len > LARGEST_STAMPED || segments_of(skb) > 1)
		return;
	u64 now = bpf_ktime_get_ns() + set->to_wall_ns;
	u64 begins = now / set->epoch_ns * set->epoch_ns;
	struct epoch epoch = { .begins = begins, .netns = netns, .direction = direction };
	epoch.bucket = (hash_of(packet) >> 20) % STAMP_BUCKETS;
	epoch.peer = direction == SENT ? packet->to : packet->from;
	struct times *times = ENTRY(net_epochs, &epoch, struct times);
	if (!times)
		return lose(LOST_LATENCY);
	times->count += 1;
	times->sum_ns += now - begins;
}

/* The times at which a packet passes the host itself. */
static ALWAYS_INLINE void pass(const struct settings *set, struct sk_buff *skb, u8 direction)
{
	if (!(set->flags & (HOPS | OVERLAY)))
		return;
	struct packet packet = {};
	read_packet(skb, direction == RECEIVED ? skb->data : header_of(skb), &packet);
	if (!is_sampled(set, &packet))
		return;
	u64 hash = hash_of(&packet);
	struct stamp *stamp = bpf_map_lookup_elem(&net_stamps, &hash);
	if (!stamp)
		return;
	u64 now = bpf_ktime_get_ns();
	if (direction == RECEIVED) {
		if (!stamp->veth_ns)
			stamp->veth_ns = now;
		return;
	}
	stamp->queue_ns = now;
	if (set->flags & OVERLAY) {
		const struct rtnl_link_ops *ops = skb->dev->rtnl_link_ops;
		const char *kind = 0;
		char name[6] = {};
		READ(kind, ops->kind);
		bpf_probe_read_kernel(name, sizeof(name), kind);
		if (name[0] == 'v' && name[1] == 'x' && name[2] == 'l' && name[3] == 'a' && name[4] == 'n')
			note_latency(stamp->netns, 0, TO_OVERLAY, now - stamp->sent_ns);
	}
}

/* Whether the packet is at the interface of a container that is traced. Elsewhere it is on its way. */
static ALWAYS_INLINE int is_at_a_container(struct settings *set, struct sk_buff *skb, u32 netns, u8 direction)
{
	struct net_device *dev = skb->dev;
	if (netns == host_netns || dev->rx_handler) {
		pass(set, skb, direction);
		return 0;
	}
	return !(dev->flags & IFF_LOOPBACK) && is_selected(set, netns);
}

SEC("tp_btf/net_dev_queue")
int net_sent(u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct settings *set = settings();
	u32 netns = netns_of(skb->dev);
	if (!set || !is_at_a_container(set, skb, netns, SENT))
		return 0;
	struct packet packet = {};
	read_packet(skb, header_of(skb), &packet);
	if (set->flags & PORTS && !has_wanted_port(&packet))
		return 0;
	count_packet(skb, &packet, netns, SENT, skb->len);
	if (!(set->flags & LATENCY) || !is_sampled(set, &packet))
		return 0;
	note_time(set, skb, &packet, netns, SENT);
	u64 hash = hash_of(&packet);
	u64 now = bpf_ktime_get_ns();
	struct stamp *known = bpf_map_lookup_elem(&net_stamps, &hash);
	/* It is on its way already, and this is a part of that. */
	if (known && known->netns != netns && now - known->sent_ns < SAME_PACKET_NS)
		return 0;
	struct stamp stamp = { .sent_ns = now, .netns = netns };
	bpf_map_update_elem(&net_stamps, &hash, &stamp, BPF_ANY);
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int net_received(u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct settings *set = settings();
	u32 netns = netns_of(skb->dev);
	if (!set || !is_at_a_container(set, skb, netns, RECEIVED))
		return 0;
	/* A multicast that the container sent itself, and hears too: it came from nowhere. */
	if (READ_BITS(skb, pkt_type) == PACKET_LOOPBACK)
		return 0;
	struct packet packet = {};
	/* What a packet that arrives was sent with may still be noted in it: its own header is where its data begins. */
	read_packet(skb, skb->data, &packet);
	if (set->flags & PORTS && !has_wanted_port(&packet))
		return 0;
	/* The link's header was taken off already. */
	u64 link_header = skb->data - skb->head - skb->mac_header;
	count_packet(skb, &packet, netns, RECEIVED, skb->len + link_header);
	if (!(set->flags & LATENCY) || !is_sampled(set, &packet))
		return 0;
	note_time(set, skb, &packet, netns, RECEIVED);
	u64 hash = hash_of(&packet);
	struct stamp *stamp = bpf_map_lookup_elem(&net_stamps, &hash);
	u64 now = bpf_ktime_get_ns();
	if (!stamp || stamp->netns == netns || now - stamp->sent_ns > LONGEST_WAY_NS)
		return 0;
	struct stamp way = *stamp;
	bpf_map_delete_elem(&net_stamps, &hash);
	note_latency(way.netns, netns, END_TO_END, now - way.sent_ns);
	if (set->flags & HOPS && way.veth_ns && way.queue_ns) {
		note_latency(way.netns, netns, CONTAINER, way.veth_ns - way.sent_ns);
		note_latency(way.netns, netns, BRIDGE, way.queue_ns - way.veth_ns);
		note_latency(way.netns, netns, VETH, now - way.queue_ns);
	}
	return 0;
}

enum { NO_PEER, SOME_PEER, THIS_MACHINE };

/* The peer of a socket. A socket of IPv6 may have a peer of IPv4. */
static ALWAYS_INLINE int peer_of(struct sock *sk, struct bytes16 *peer)
{
	u32 ipv4 = sk->__sk_common.skc_daddr;
	u16 family = sk->__sk_common.skc_family;
	if (ipv4 && (family == AF_INET || family == AF_INET6)) {
		mapped(peer, (u8 *)&ipv4);
		return peer->bytes[12] == 127 ? THIS_MACHINE : SOME_PEER;
	}
	if (family != AF_INET6 || READ(*peer, sk->__sk_common.skc_v6_daddr))
		return NO_PEER;
	u64 halves[2];
	__builtin_memcpy(halves, peer, 16);
	if (halves[0])
		return SOME_PEER;
	if (!halves[1])
		return NO_PEER;
	return peer->bytes[15] == 1 ? THIS_MACHINE : SOME_PEER;
}

/* Whose a socket is: its namespace's, or on the host's network the one who used it; 0: nobody's that is known. */
static ALWAYS_INLINE u64 owner_of(struct sock *sk)
{
	u64 netns = sk->__sk_common.skc_net.net->ns.inum;
	u64 key = (u64)sk;
	if (netns != host_netns)
		return netns;
	u64 *known = bpf_map_lookup_elem(&net_sockets, &key);
	return known ? *known : 0;
}

static NEVER_INLINE struct tcp_counts *tcp_of(struct sock *sk)
{
	struct settings *set = settings();
	struct tcp_pair pair = { .owner = owner_of(sk) };
	if (!set || !pair.owner || !is_selected(set, pair.owner) || peer_of(sk, &pair.peer) != SOME_PEER)
		return 0;
	struct tcp_counts *counts = ENTRY(net_tcp, &pair, struct tcp_counts);
	if (!counts)
		lose(LOST_TCP);
	return counts;
}

SEC("tp_btf/tcp_probe")
int net_rtt(u64 *ctx)
{
	struct settings *set = settings();
	if (!set || bpf_get_prandom_u32() & set->rtt_mask)
		return 0;
	struct tcp_sock *tcp = (void *)ctx[0];
	u32 srtt = 0;
	READ(srtt, tcp->srtt_us);
	srtt >>= 3; /* it is kept in eighths */
	struct tcp_counts *counts = srtt ? tcp_of((void *)ctx[0]) : 0;
	if (counts) {
		counts->rtt_samples += 1;
		counts->rtt_sum_us += srtt;
	}
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int net_retransmitted(u64 *ctx)
{
	struct tcp_counts *counts = tcp_of((void *)ctx[0]);
	if (counts)
		counts->retransmits += segments_of((void *)ctx[1]);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int net_state(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int from = (int)ctx[1], to = (int)ctx[2];
	u64 key = (u64)sk;
	if (to != ESTABLISHED && to != CLOSE)
		return 0;
	if (sk->sk_protocol != TCP || from == LISTEN || (to == CLOSE && (from == SYN_RECV || from == NEW_SYN_RECV)))
		return 0;
	struct tcp_counts *counts = tcp_of(sk);
	if (counts) {
		if (to == ESTABLISHED && from == SYN_SENT)
			counts->opened += 1;
		else if (to == ESTABLISHED)
			counts->accepted += 1;
		else if (from == SYN_SENT)
			counts->refused += 1;
		else
			counts->closed += 1;
	}
	if (to == CLOSE)
		bpf_map_delete_elem(&net_sockets, &key);
	return 0;
}

/* The cgroup of whoever runs now. */
static ALWAYS_INLINE u64 current_cgroup(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct css_set *set = 0;
	struct cgroup_subsys_state *state = 0;
	struct cgroup *cgroup = 0;
	struct kernfs_node *node = 0;
	u64 id = 0;
	READ(set, task->cgroups);
	if (cgroups_v1) {
		u32 cpuacct = __builtin_preserve_enum_value(*(enum cgroup_subsys_id *)cpuacct_cgrp_id, 1);
		void *first = __builtin_preserve_access_index(&set->subsys);
		bpf_probe_read_kernel(&state, sizeof(state), first + cpuacct * sizeof(void *));
		READ(cgroup, state->cgroup);
	} else {
		READ(cgroup, set->dfl_cgrp);
	}
	READ(node, cgroup->kn);
	READ(id, node->id);
	return id;
}

/* What programs on the host's network send and receive, at the call: there alone it is known whose it is. */
static ALWAYS_INLINE void count_call(struct sock *sk, int bytes, u8 direction)
{
	struct settings *set = settings();
	struct flow flow = { .direction = direction, .is_ip = 1 };
	u64 key = (u64)sk;
	if (bytes <= 0 || !set || sk->__sk_common.skc_net.net->ns.inum != host_netns || peer_of(sk, &flow.peer) == THIS_MACHINE)
		return;
	u64 cgroup = current_cgroup();
	if (!bpf_map_lookup_elem(&net_cgroups, &cgroup))
		return;
	flow.owner = cgroup | OF_CGROUP;
	flow.protocol = sk->sk_protocol;
	if (flow.protocol == TCP)
		bpf_map_update_elem(&net_sockets, &key, &flow.owner, BPF_ANY);
	if (is_selected(set, flow.owner))
		count(&flow, bytes, 0, 0);
}

SEC("tp_btf/sock_send_length")
int net_call_sent(u64 *ctx)
{
	count_call((void *)ctx[0], (int)ctx[1], SENT);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int net_call_received(u64 *ctx)
{
	if (!((int)ctx[2] & MSG_PEEK))
		count_call((void *)ctx[0], (int)ctx[1], RECEIVED);
	return 0;
}

SEC("tp_btf/kfree_skb")
int net_dropped(u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct net_device *dev = skb->dev;
	struct sock *sk = skb->sk;
	struct drop drop = { .reason = (u32)ctx[2] };
	struct packet packet = {};
	read_packet(skb, header_of(skb), &packet);
	if (!packet.is_ip)
		return 0;
	if (dev) {
		drop.netns = netns_of(dev);
	} else if (sk) {
		drop.netns = sk->__sk_common.skc_net.net->ns.inum;
	} else {
		struct dst_entry *route = (void *)(skb->_skb_refdst & ~1UL);
		struct net *net = 0;
		if (!route)
			return 0;
		READ(dev, route->dev);
		READ(net, dev->nd_net.net);
		READ(drop.netns, net->ns.inum);
	}
	drop.from = packet.from;
	drop.to = packet.to;
	u64 *dropped = ENTRY(net_drops, &drop, u64);
	if (dropped)
		*dropped += 1;
	else
		lose(LOST_DROPS);
	u64 hash = hash_of(&packet);
	bpf_map_delete_elem(&net_stamps, &hash);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
