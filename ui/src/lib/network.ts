// The network map as it is drawn: who is linked to whom, and where each stands. Pure.
import type { Schemas } from '../api/client';
import { count, percent, plural, rate, short } from './format';

export type NetNode = Schemas['MapNode'];
export type NetEdge = Schemas['MapEdge'];

/** Both directions between two nodes. */
export interface Link {
  id: string;
  a: string;
  b: string;
  /** From a to b, and from b to a. */
  edges: [NetEdge | undefined, NetEdge | undefined];
  /** Bytes a second, both ways. */
  rate: number;
  /** Of the two directions the worse. */
  loss: number | null;
  retransmits: number | null;
  tone: 'bad' | 'warn' | 'quiet';
}

/** Percent of loss from which a link is bad. */
const BAD_LOSS = 1;

function worst(a: number | null | undefined, b: number | null | undefined): number | null {
  const known = [a, b].filter((one): one is number => one !== null && one !== undefined);
  return known.length ? Math.max(...known) : null;
}

/** The two directions of each pair as one, those with the most bytes first. */
export function links(edges: readonly NetEdge[]): Link[] {
  const found = new Map<string, Link>();
  for (const edge of edges) {
    const turned = edge.from > edge.to;
    const [a, b] = turned ? [edge.to, edge.from] : [edge.from, edge.to];
    const id = `${a}|${b}`;
    let link = found.get(id);
    if (!link) found.set(id, (link = { id, a, b, edges: [undefined, undefined], rate: 0, loss: null, retransmits: null, tone: 'quiet' }));
    link.edges[turned ? 1 : 0] = edge;
    link.rate += edge.bytes_per_second ?? 0;
    link.loss = worst(link.loss, edge.loss_percent);
    if (edge.retransmits !== null && edge.retransmits !== undefined) link.retransmits = (link.retransmits ?? 0) + edge.retransmits;
    if ((link.loss ?? 0) >= BAD_LOSS || edge.drops) link.tone = 'bad';
    else if (link.tone === 'quiet' && ((link.loss ?? 0) > 0 || (link.retransmits ?? 0) > 0)) link.tone = 'warn';
  }
  return [...found.values()].sort((x, y) => y.rate - x.rate || (x.id < y.id ? -1 : 1));
}

/** Microseconds in the unit that people would choose. */
export function micros(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  if (value < 1000) return `${short(value)}\u00a0µs`;
  return value < 1e6 ? `${short(value / 1000)}\u00a0ms` : `${short(value / 1e6)}\u00a0s`;
}

/** A latency with what it is: `~` before half a round trip. */
export function latency(edge: NetEdge | undefined): string {
  return (edge?.latency_kind === 'half_rtt' ? '~' : '') + micros(edge?.latency_us_p50);
}

/** A link in words: how much and how fast, and what is wrong. */
export function told(link: Link): [string, string] {
  const [there, back] = link.edges;
  const slow = there?.latency_us_p50 !== null && there?.latency_us_p50 !== undefined ? there : back;
  const known = slow?.latency_us_p50 !== null && slow?.latency_us_p50 !== undefined;
  const wrong = [link.loss ? `${percent(link.loss)} lost` : '', link.retransmits ? `${count(link.retransmits)} sent again` : ''];
  return [rate(link.rate) + (known ? ` · ${latency(slow)}` : ''), wrong.filter(Boolean).join(' · ')];
}

export interface Spot {
  node: NetNode;
  x: number;
  y: number;
  column: number;
}

export interface Box {
  label: string;
  x: number;
  y: number;
  height: number;
}

export interface Layout {
  spots: Map<string, Spot>;
  boxes: Box[];
  projects: { label: string; x: number; y: number }[];
  width: number;
  height: number;
}

export const NODE = { width: 176, height: 28 };
const GAP = 180;
const PAD = 12;
const ROW = NODE.height + 6;

/** Hosts as boxes in columns, each with its projects, each with its containers: the same for the same names. */
export function layout(nodes: readonly NetNode[], width: number): Layout {
  const box = NODE.width + 2 * PAD;
  const columns = Math.max(1, Math.floor(width / (box + GAP)));
  const hosts = new Map<string, Map<string, NetNode[]>>();
  const rank = (node: NetNode) => `${node.hostname === null || node.hostname === undefined ? 1 : 0}${node.hostname ?? ''}`;
  const group = (node: NetNode) => (node.kind === 'container' ? (node.project ?? '') : '');
  const key = (node: NetNode) => [rank(node), group(node) || '\uffff', node.kind === 'container' ? 0 : 1, node.name].join('\0');
  for (const node of nodes.toSorted((x, y) => (key(x) < key(y) ? -1 : 1))) {
    const host = node.hostname ?? 'outside';
    const projects = hosts.get(host) ?? new Map<string, NetNode[]>();
    hosts.set(host, projects.set(group(node), [...(projects.get(group(node)) ?? []), node]));
  }
  const heights = new Array<number>(Math.min(columns, Math.max(1, hosts.size))).fill(0);
  const out: Layout = { spots: new Map(), boxes: [], projects: [], width: 0, height: 0 };
  for (const [label, projects] of hosts) {
    const column = heights.indexOf(Math.min(...heights));
    const [x, top] = [column * (box + GAP), heights[column] ?? 0];
    let y = top + 32;
    for (const [project, members] of projects) {
      if (project) {
        out.projects.push({ label: project, x: x + PAD, y });
        y += 20;
      }
      for (const node of members) {
        out.spots.set(node.id, { node, x: x + PAD, y, column });
        y += ROW;
      }
      y += 4;
    }
    out.boxes.push({ label, x, y: top, height: y - top });
    heights[column] = y + 16;
  }
  out.width = heights.length * (box + GAP) - 40;
  out.height = Math.max(...heights, 80);
  return out;
}

export interface Curve {
  d: string;
  /** Where its words begin: in the gap beside the left one of the two. */
  x: number;
  y: number;
}

/** The line of a link as an SVG path, and where its words stand. */
export function curve(a: Spot, b: Spot): Curve {
  const [left, right] = a.column <= b.column ? [a, b] : [b, a];
  const [ya, yb] = [left.y + NODE.height / 2, right.y + NODE.height / 2];
  const xa = left.x + NODE.width;
  if (left.column === right.column) {
    const out = xa + 24 + Math.min(70, Math.abs(ya - yb) / 5);
    return { d: `M${xa} ${ya}C${out} ${ya} ${out} ${yb} ${xa} ${yb}`, x: xa + (out - xa) * 0.75 + 4, y: (ya + yb) / 2 };
  }
  const [middle, x] = [(xa + right.x) / 2, xa + PAD + 20];
  // How far along the line has come at x: it runs to the right all the way.
  let [low, high] = [0, 1];
  for (let step = 0; step < 12; step += 1) {
    const t = (low + high) / 2;
    const at = xa * (1 - t) ** 3 + 3 * middle * t * (1 - t) + right.x * t ** 3;
    if (at < x) low = t;
    else high = t;
  }
  const y = ya + (yb - ya) * low * low * (3 - 2 * low);
  return { d: `M${xa} ${ya}C${middle} ${ya} ${middle} ${yb} ${right.x} ${yb}`, x, y };
}

/** Room that words take. */
const WORDS = { width: 150, height: 27 };

/** Moves words down until none stand on others. */
export function apart<T extends Curve>(all: T[]): T[] {
  const placed: T[] = [];
  for (const one of all) {
    let y = one.y;
    const hit = () => placed.find((other) => Math.abs(other.x - one.x) < WORDS.width && Math.abs(other.y - y) < WORDS.height);
    for (let other = hit(); other; other = hit()) y = other.y + WORDS.height;
    placed.push({ ...one, y });
  }
  return placed;
}

/** A graph of more nodes than these shows projects, or hosts. */
export const MOST_NODES = 120;

/** What a map of so many nodes is better seen by; null where it is fine. */
export function coarser(by: string, nodes: number): 'project' | 'host' | null {
  if (nodes <= MOST_NODES) return null;
  return by === 'container' ? 'project' : by === 'project' ? 'host' : null;
}

/** `3 containers on 2 hosts` */
export function sized(nodes: readonly NetNode[]): string {
  const containers = nodes.filter((node) => node.kind === 'container').length;
  const hosts = new Set(nodes.map((node) => node.hostname).filter(Boolean)).size;
  return `${containers ? `${plural(containers, 'container')} on ` : ''}${plural(hosts, 'host')}`;
}
