/* What our programs use of the kernel's interface to BPF, and no more: so a build needs clang alone, no kernel headers of
 * the right architecture. All of it is stable user API: linux/bpf.h, linux/pkt_cls.h, linux/in.h, linux/icmpv6.h. */
#ifndef DOCKHEALTH_KERNEL_H
#define DOCKHEALTH_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* An IPv6 address, in network byte order. */
struct bytes16 {
	u8 bytes[16];
};

#define SEC(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))
/* Once, however often it is called. */
#define NEVER_INLINE __attribute__((noinline))

/* A map is described by the types of its members, which the loader reads from the BTF. */
#define MAP_NUMBER(name, number) int(*name)[number]
#define MAP_TYPE(name, type) typeof(type) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
};

/* Memory of a map's entries is taken as they come. */
#define BPF_F_NO_PREALLOC 1
/* Of an update: whatever is there; only where nothing is. */
#define BPF_ANY 0
#define BPF_NOEXIST 1

/* The beginning of the context of a classifier; the kernel translates each access. */
struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex, ifindex;
	u32 tc_index, cb[5], hash, tc_classid, data, data_end, napi_id, family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4];
	u32 remote_port, local_port, data_meta;
	u64 flow_keys, tstamp;
	u32 wire_len, gso_segs; /* since Linux 5.1 */
};

/* Verdicts: go on with the next program (also TCX_NEXT), or drop. */
#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HTONS(number) ((u16)__builtin_bswap16(number))
#else
#define HTONS(number) ((u16)(number))
#endif

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static long (*bpf_skb_store_bytes)(struct __sk_buff *skb, u32 offset, const void *from, u32 size, u64 flags) = (void *)9;
static long (*bpf_skb_load_bytes)(const void *skb, u32 offset, void *to, u32 size) = (void *)26;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113; /* since Linux 5.5 */
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125; /* since Linux 5.8 */

#endif
