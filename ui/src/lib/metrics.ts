// The catalogue of metrics, as the pages show it: name, unit and what it says. It follows src/model/metric.rs.
import { bytes, count, millis, percent, rate, short, span, UNKNOWN } from './format';

export type Unit = 'percent' | 'bytes' | 'rate' | 'per_second' | 'ms' | 'seconds' | 'celsius' | 'count';

export interface Metric {
  name: string;
  label: string;
  unit: Unit;
  /** What it is of. */
  of: 'container' | 'host' | 'both';
  group: 'CPU' | 'Memory' | 'Network' | 'Disk' | 'Life' | 'Probes' | 'Pools' | 'Agent';
  help: string;
}

type Row = [name: string, label: string, of: Metric['of'], help: string];

function group(name: Metric['group'], rows: Row[]): Metric[] {
  return rows.map(([metric, label, of, help]) => ({ name: metric, label, of, help, group: name, unit: unitOf(metric) }));
}

/** The unit that a name's suffix carries. */
export function unitOf(name: string): Unit {
  if (name.endsWith('_bytes_per_second')) return 'rate';
  if (name.endsWith('_seconds_per_second')) return 'count';
  if (name.endsWith('_per_second')) return 'per_second';
  if (name.endsWith('_percent')) return 'percent';
  if (name.endsWith('_bytes')) return 'bytes';
  if (name.endsWith('_ms')) return 'ms';
  if (name.endsWith('_seconds')) return 'seconds';
  return name.endsWith('_celsius') ? 'celsius' : 'count';
}

export const METRICS: readonly Metric[] = [
  ...group('CPU', [
    ['cpu_percent', 'CPU', 'both', 'CPU time used, percent of one core'],
    ['cpu_host_percent', 'CPU of the machine', 'both', "CPU time used, percent of all the host's cores"],
    ['cpu_limit_percent', 'CPU of its limit', 'container', 'CPU time used, percent of its own limit; absent without one'],
    ['cpu_throttled_percent', 'CPU throttled', 'container', 'Share of its scheduling periods in which its limit held it back'],
    ['cpu_throttled_seconds_per_second', 'Time throttled', 'container', 'Time its threads were held back by its limit'],
    ['cpu_user_percent', 'CPU in programs', 'host', 'CPU time in programs, percent of all cores'],
    ['cpu_system_percent', 'CPU in the kernel', 'host', 'CPU time in the kernel, percent of all cores'],
    ['cpu_nice_percent', 'CPU of low priority', 'host', 'CPU time in programs of low priority, percent of all cores'],
    ['cpu_iowait_percent', 'Waiting for disks', 'host', 'Time idle while disks were waited for, percent of all cores'],
    ['cpu_irq_percent', 'Interrupts', 'host', 'CPU time for interrupts, percent of all cores'],
    ['cpu_steal_percent', 'CPU stolen', 'host', 'Time the hypervisor gave to others, percent of all cores'],
    ['cpu_pressure_percent', 'CPU pressure', 'both', 'Share of time in which some threads waited for CPU'],
    ['load1', 'Load, 1 min', 'host', 'Load average over a minute'],
    ['load5', 'Load, 5 min', 'host', 'Load average over five minutes'],
    ['load15', 'Load, 15 min', 'host', 'Load average over fifteen minutes'],
  ]),
  ...group('Memory', [
    ['memory_bytes', 'Memory', 'both', 'Memory in use without the page cache that can be dropped'],
    ['memory_percent', 'Memory, share', 'both', 'Memory in use, percent of limit or machine'],
    ['memory_limit_bytes', 'Memory limit', 'container', "The most memory it may use: its limit, or the host's memory"],
    ['memory_cache_bytes', 'Page cache', 'both', 'Page cache'],
    ['memory_swap_bytes', 'Swap', 'both', 'Memory swapped out'],
    ['memory_total_bytes', 'Memory in all', 'host', "The machine's memory"],
    ['memory_swap_total_bytes', 'Swap in all', 'host', "The machine's swap space"],
    ['memory_pressure_percent', 'Memory pressure', 'both', 'Share of time in which some threads waited for memory'],
    ['oom_kills', 'OOM kills', 'container', 'Processes killed for want of memory since it started'],
  ]),
  ...group('Network', [
    ['net_rx_bytes_per_second', 'Received', 'container', "Received; absent for containers on the host's network"],
    ['net_tx_bytes_per_second', 'Sent', 'container', 'Sent'],
    ['net_rx_packets_per_second', 'Packets received', 'container', 'Packets received'],
    ['net_tx_packets_per_second', 'Packets sent', 'container', 'Packets sent'],
    ['net_rx_errors_per_second', 'Receive errors', 'container', 'Packets received in error'],
    ['net_tx_errors_per_second', 'Send errors', 'container', 'Packets that failed to be sent'],
    ['net_rx_drops_per_second', 'Dropped on arrival', 'container', 'Packets dropped on arrival'],
    ['net_tx_drops_per_second', 'Dropped before sent', 'container', 'Packets dropped before they were sent'],
    ['net_dropped_per_second', 'Dropped for', 'container', 'Packets that the kernel dropped, by reason'],
    ['net_retransmits_per_second', 'Sent again', 'container', 'TCP segments that it sent again'],
    ['net_connections_opened_per_second', 'Connections opened', 'container', 'TCP connections that it opened'],
    ['net_connections_accepted_per_second', 'Connections accepted', 'container', 'TCP connections that it accepted'],
    ['net_connections_refused_per_second', 'Connections refused', 'container', 'TCP connections that it tried to open in vain'],
    ['net_rtt_ms', 'Round trip of TCP', 'container', 'Round trip of its TCP connections, as TCP smooths it'],
    ['net_latency_mean_ms', 'Latency', 'container', 'Mean time of packets to it from containers of this host'],
    ['net_latency_p50_ms', 'Latency, median', 'container', 'Median time of packets to it from containers of this host'],
    ['net_latency_p99_ms', 'Latency, p99', 'container', 'What 99 % of those packets took at most'],
    ['peer_tx_bytes_per_second', 'Sent to', 'container', 'Sent to one peer'],
    ['peer_rx_bytes_per_second', 'Received from', 'container', 'Received from one peer'],
    ['peer_retransmits_per_second', 'Sent again to', 'container', 'TCP segments sent to one peer again'],
    ['peer_rtt_ms', 'Round trip with', 'container', 'Round trip of TCP with one peer'],
    ['peer_loss_percent', 'Loss to', 'container', 'Packets to one container of this host that did not arrive'],
    ['peer_latency_p50_ms', 'Latency to', 'container', 'Median time of packets to one container of this host'],
    ['peer_latency_p99_ms', 'Latency to, p99', 'container', 'What 99 % of those packets took at most'],
    ['net_flow_rows', 'Pairs that speak', 'host', 'Pairs of a container and a peer that spoke in the last interval'],
    ['net_overflow_per_second', 'No room for', 'host', "Packets and events for which the kernel's tables had no room"],
    ['net_table_bytes', 'Tables of the network', 'host', "Memory of the kernel's tables of the network"],
    ['interface_rx_bytes_per_second', 'Received', 'host', 'Received, by interface'],
    ['interface_tx_bytes_per_second', 'Sent', 'host', 'Sent, by interface'],
    ['interface_rx_errors_per_second', 'Receive errors', 'host', 'Packets received in error, by interface'],
    ['interface_tx_errors_per_second', 'Send errors', 'host', 'Packets that failed to be sent, by interface'],
    ['interface_rx_drops_per_second', 'Dropped on arrival', 'host', 'Packets dropped on arrival, by interface'],
    ['interface_tx_drops_per_second', 'Dropped before sent', 'host', 'Packets dropped before they were sent, by interface'],
  ]),
  ...group('Disk', [
    ['block_read_bytes_per_second', 'Read', 'container', 'Read from disks'],
    ['block_write_bytes_per_second', 'Written', 'container', 'Written to disks'],
    ['block_reads_per_second', 'Reads', 'container', 'Read operations on disks'],
    ['block_writes_per_second', 'Writes', 'container', 'Write operations on disks'],
    ['disk_read_bytes_per_second', 'Read', 'host', 'Read, by disk'],
    ['disk_write_bytes_per_second', 'Written', 'host', 'Written, by disk'],
    ['filesystem_used_bytes', 'Space in use', 'host', 'Space in use, by mount'],
    ['filesystem_total_bytes', 'Space in all', 'host', 'Space in all, by mount'],
    ['io_pressure_percent', 'Disk pressure', 'both', 'Share of time in which some threads waited for disks'],
    ['writable_layer_bytes', 'Own layer', 'container', 'What it has written into its own layer'],
    ['image_bytes', 'Image', 'container', 'The size of its image'],
  ]),
  ...group('Life', [
    ['pids', 'Processes', 'container', 'Processes and threads'],
    ['uptime_seconds', 'Uptime', 'both', 'Since its start'],
    ['exit_code', 'Exit code', 'container', 'Of its last end; absent while it runs'],
    ['restarts', 'Restarts', 'container', "Restarts by dockhealth since the agent's journal began"],
    ['temperature_celsius', 'Temperature', 'host', 'Temperature, by sensor'],
  ]),
  ...group('Probes', [
    ['loss_percent', 'Loss', 'container', 'Packets lost in the last check'],
    ['rtt_ms', 'Round trip', 'container', 'Median round trip of the last check'],
  ]),
  ...group('Pools', [
    ['pool_containers_wanted', 'Wanted', 'host', 'Containers that its controller wants'],
    ['pool_containers_starting', 'Starting', 'host', 'Containers being made, or not ready yet'],
    ['pool_containers_ready', 'Ready', 'host', 'Containers ready for requests, busy ones included'],
    ['pool_containers_busy', 'Busy', 'host', 'Containers that work on requests'],
    ['pool_containers_draining', 'Draining', 'host', 'Containers that finish what they have, then go'],
    ['pool_waiting', 'Waiting', 'host', 'Requests that wait'],
    ['pool_in_flight', 'In flight', 'host', 'Requests that containers work on'],
    ['pool_arrivals_per_second', 'Arrivals', 'host', 'Requests that came'],
    ['pool_forecast_per_second', 'Forecast', 'host', 'Requests that its controller expects'],
    ['pool_refused_per_second', 'Refused', 'host', 'Requests that were refused'],
    ['pool_failed_per_second', 'Failed', 'host', 'Requests whose container died or was silent'],
    ['pool_wait_seconds', 'Wait', 'host', 'Mean wait of requests in its last period'],
    ['pool_sojourn_seconds', 'Sojourn', 'host', 'Mean time from arrival to answer in its last period'],
  ]),
  ...group('Agent', [
    ['agent_cpu_percent', "Agent's CPU", 'host', 'CPU time of the agent itself, percent of one core'],
    ['agent_memory_bytes', "Agent's memory", 'host', 'Resident memory of the agent itself'],
    ['outbox_items', 'Waiting to be delivered', 'host', 'Items that wait to be delivered to the controller'],
    ['samples_dropped', 'Samples dropped', 'host', 'Samples dropped because they waited too long'],
  ]),
];

const BY_NAME = new Map(METRICS.map((metric) => [metric.name, metric]));

/** The metric of a series (`name` or `name/part`). */
export function metricOf(series: string): Metric {
  const name = series.split('/', 1)[0] ?? series;
  return (
    BY_NAME.get(name) ?? { name, label: name.replaceAll('_', ' '), unit: unitOf(name), of: 'both', group: 'Life', help: name }
  );
}

/** The part of a series, as `eth0` in `interface_rx_bytes_per_second/eth0`. */
export function partOf(series: string): string | null {
  const slash = series.indexOf('/');
  return slash < 0 ? null : series.slice(slash + 1);
}

/** What a series is called. */
export function labelOf(series: string): string {
  const part = partOf(series);
  const { label } = metricOf(series);
  return part === null ? label : `${label} ${part}`;
}

/** A value in its unit. */
export function show(unit: Unit, value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  switch (unit) {
    case 'percent':
      return percent(value);
    case 'bytes':
      return bytes(value);
    case 'rate':
      return rate(value);
    case 'per_second':
      return `${short(value)}\u00a0/s`;
    case 'ms':
      return millis(value);
    case 'seconds':
      return span(value);
    case 'celsius':
      return `${short(value)}\u00a0°C`;
    case 'count':
      return Number.isInteger(value) ? count(value) : short(value);
  }
}
