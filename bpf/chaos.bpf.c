/* Faults of a container's network, on the host's end of its veth pair: a share of its IP packets is lost or damaged, or all
 * from and to some addresses is lost. What is no IP, and how neighbours find each other, passes: an address stays known.
 *
 * The fault ends in here when its time is over, whatever became of the process that loaded it. */
#include "kernel.h"

/* As src/ebpf/chaos.rs writes it. */
struct settings {
	u64 until_ns;      /* of CLOCK_BOOTTIME; from then on everything passes */
	u32 lost_ppm;      /* so many of a million packets are lost */
	u32 corrupted_ppm; /* of so many a bit is flipped */
};

/* As src/ebpf/chaos.rs reads it. */
struct counts {
	u64 seen, lost, corrupted;
};

/* IPv4 addresses are written as ::ffff:a.b.c.d. */
struct address {
	u8 bytes[16];
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct settings);
} chaos_settings SEC(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct counts);
} chaos_counts SEC(".maps");

/* Whom it is cut off from. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, 64);
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, u32);
} chaos_peers SEC(".maps");

#define ETHERNET_HEADER 14
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define ICMPV6 58

/* An IP packet, as far as it matters here. */
struct packet {
	struct address from, to;
	/* Where a bit may be flipped so that whoever receives the packet must notice: how many bytes from the IP header's
	 * first on, and from which bit of a byte. */
	u32 fragile_bytes, fragile_bit;
};

static ALWAYS_INLINE int is_of_neighbours(u8 type)
{
	/* Multicast listeners 130..132 and 143 (RFC 3810), neighbour discovery 133..137 (RFC 4861). */
	return (type >= 130 && type <= 137) || type == 143;
}

static ALWAYS_INLINE void mapped(struct address *address, const u8 *ipv4)
{
	address->bytes[10] = address->bytes[11] = 0xff;
	__builtin_memcpy(address->bytes + 12, ipv4, 4);
}

/* Reads the packet; 0 when it is none of ours.
 *
 * Linux computes a checksum of TCP and UDP only where a packet leaves by a wire: between containers a damaged payload would
 * reach the program, and perhaps its database, as good. And whoever reads raw sockets, as ping does, gets ICMP before its
 * checksum is looked at. So the bit flipped is one of IPv4's header, which has a checksum of its own that every receiver
 * verifies first, or of IPv6's version. */
static ALWAYS_INLINE int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	if (skb->protocol == HTONS(0x0800)) {
		u8 header[IPV4_HEADER];
		if (bpf_skb_load_bytes(skb, ETHERNET_HEADER, header, sizeof(header)))
			return 0;
		mapped(&packet->from, header + 12);
		mapped(&packet->to, header + 16);
		packet->fragile_bytes = IPV4_HEADER;
		packet->fragile_bit = 0;
		return 1;
	}
	if (skb->protocol == HTONS(0x86dd)) {
		u8 header[IPV6_HEADER + 1];
		if (bpf_skb_load_bytes(skb, ETHERNET_HEADER, header, sizeof(header)))
			return 0;
		if (header[6] == ICMPV6 && is_of_neighbours(header[IPV6_HEADER]))
			return 0;
		__builtin_memcpy(&packet->from, header + 8, 16);
		__builtin_memcpy(&packet->to, header + 24, 16);
		packet->fragile_bytes = 1;
		packet->fragile_bit = 4;
		return 1;
	}
	return 0;
}

/* True for so many of a million calls. */
static ALWAYS_INLINE int happens(u32 ppm)
{
	return (((u64)bpf_get_prandom_u32() * 1000000) >> 32) < ppm;
}

static ALWAYS_INLINE int flip(struct __sk_buff *skb, const struct packet *packet)
{
	u32 offset = ETHERNET_HEADER + bpf_get_prandom_u32() % packet->fragile_bytes;
	u32 bit = packet->fragile_bit + bpf_get_prandom_u32() % (8 - packet->fragile_bit);
	u8 byte;
	if (bpf_skb_load_bytes(skb, offset, &byte, 1))
		return 0;
	byte ^= 1 << bit;
	return bpf_skb_store_bytes(skb, offset, &byte, 1, 0) == 0;
}

SEC("classifier")
int dockhealth_cut(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct settings *settings = bpf_map_lookup_elem(&chaos_settings, &zero);
	struct counts *counts = bpf_map_lookup_elem(&chaos_counts, &zero);
	struct packet packet = {};
	if (!settings || !counts || bpf_ktime_get_boot_ns() >= settings->until_ns || !read_packet(skb, &packet))
		return TC_ACT_UNSPEC;
	counts->seen++;
	if (happens(settings->lost_ppm) || bpf_map_lookup_elem(&chaos_peers, &packet.from) ||
	    bpf_map_lookup_elem(&chaos_peers, &packet.to)) {
		counts->lost++;
		return TC_ACT_SHOT;
	}
	if (happens(settings->corrupted_ppm) && flip(skb, &packet))
		counts->corrupted++;
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
