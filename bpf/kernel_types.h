/* The kernel's own types, as far as our tracepoint programs read them. Only names and kinds of fields count: where each lies
 * is looked up in the running kernel's BTF when a program is loaded (CO-RE). */
#ifndef DOCKHEALTH_KERNEL_TYPES_H
#define DOCKHEALTH_KERNEL_TYPES_H

#include "kernel.h"

#define CORE __attribute__((preserve_access_index))

struct ns_common {
	u32 inum;
} CORE;

struct net {
	struct ns_common ns;
} CORE;

typedef struct {
	struct net *net;
} CORE possible_net_t;

struct rtnl_link_ops {
	const char *kind;
} CORE;

struct net_device {
	int ifindex;
	u32 flags;
	void *rx_handler;
	possible_net_t nd_net;
	const struct rtnl_link_ops *rtnl_link_ops;
} CORE;

struct skb_shared_info {
	u16 gso_segs;
} CORE;

struct sock_common {
	struct bytes16 skc_v6_daddr;
	u32 skc_daddr;
	u16 skc_family;
	possible_net_t skc_net;
} CORE;

struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
} CORE;

struct tcp_sock {
	u32 srtt_us;
} CORE;

struct dst_entry {
	struct net_device *dev;
} CORE;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	u32 len, data_len;
	u16 protocol;
	u16 network_header;
	u16 mac_header;
	unsigned char *head;
	unsigned char *data;
	u32 end;
	unsigned long _skb_refdst;
	u8 pkt_type : 3;
} CORE;

struct kernfs_node {
	u64 id;
} CORE;

struct cgroup {
	struct kernfs_node *kn;
} CORE;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
} CORE;

struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
} CORE;

struct task_struct {
	struct css_set *cgroups;
} CORE;

enum cgroup_subsys_id { cpuacct_cgrp_id };

/* Reads a field of the kernel's where a plain access would not be allowed. */
#define READ(to, from) bpf_probe_read_kernel(&(to), sizeof(to), __builtin_preserve_access_index(&(from)))

/* A field of less than a byte. Where in which byte it lies is looked up like all the rest. */
enum { FIELD_BYTE = 0, FIELD_LSHIFT = 4, FIELD_RSHIFT = 5 };
#define READ_BITS(from, field)                                                                                                 \
	((u64)*((const u8 *)(from) + __builtin_preserve_field_info((from)->field, FIELD_BYTE))                                 \
		 << __builtin_preserve_field_info((from)->field, FIELD_LSHIFT) >>                                              \
	 __builtin_preserve_field_info((from)->field, FIELD_RSHIFT))

#endif
