/* Who sent how much to whom, as tracepoints and classifiers count it and `src/ebpf` reads it. */
#ifndef DOCKHEALTH_FLOW_H
#define DOCKHEALTH_FLOW_H

#include "kernel.h"

/* A table whose entries take memory only when they are there. */
#define TABLE(name, kind, entries, key_type, value_type)                                                                       \
	struct {                                                                                                               \
		MAP_NUMBER(type, kind);                                                                                        \
		MAP_NUMBER(max_entries, entries);                                                                              \
		MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);                                                                      \
		MAP_TYPE(key, key_type);                                                                                       \
		MAP_TYPE(value, value_type);                                                                                   \
	} name SEC(".maps")

enum { SENT = 0, RECEIVED = 1 };
/* IPv4 addresses are written as ::ffff:a.b.c.d; without `is_ip` it is no IP. */
struct flow {
	u64 owner;
	struct bytes16 peer;
	u8 protocol, direction, is_ip;
	u8 unused[5];
};
struct traffic {
	u64 bytes, packets, segments;
};
/* One direction of an owner's traffic, with whomever. */
struct end {
	u64 owner;
	u64 direction;
};

#endif
