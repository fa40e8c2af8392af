// Incidents as people count them: one dead host is one line, and so is one project of which much fails.
import type { Schemas } from '../api/client';
import type { IconName } from '../components/Icon.svelte';
import type { Tone } from './health';

export type Incident = Schemas['Incident'];
export type IncidentKind = Schemas['IncidentKind'];

interface Word {
  label: string;
  icon: IconName;
  /** Greater stands for those that are less. */
  rank: number;
}

export const KINDS: Readonly<Record<IncidentKind, Word>> = {
  host: { label: 'host silent', icon: 'host', rank: 6 },
  identity: { label: 'identity conflict', icon: 'alert', rank: 5 },
  engine: { label: 'engine unreachable', icon: 'alert', rank: 4 },
  shared: { label: 'shared cause', icon: 'bolt', rank: 3 },
  network: { label: 'network', icon: 'bolt', rank: 2 },
  clock: { label: 'clock off', icon: 'alert', rank: 1 },
  pool: { label: 'pool', icon: 'container', rank: 1 },
  container: { label: 'container', icon: 'container', rank: 0 },
};

export const rankOf = (incident: Incident): number => KINDS[incident.kind]?.rank ?? 0;

/** Incidents that are read as one. */
export interface Line {
  key: string;
  /** What it is named after: the gravest, or the first. */
  head: Incident;
  /** What it is about: a host, one of its projects, or a container there. */
  level: 'host' | 'project' | 'container';
  project: string | null;
  /** All of them, the head too, the newest first. */
  incidents: Incident[];
}

/** Those of one host that began so close to each other belong together, milliseconds. */
const NEAR = 120_000;
/** A container that fails again so soon is one line, milliseconds. */
const AGAIN = 900_000;

const begun = (incident: Incident) => Date.parse(incident.opened_at);

/** So many containers of one host, or of one project there, are one line. */
const SOME = 3;

/**
 * Incidents, the last opened first, as lines: what concerns a host as a whole takes those of its containers that were
 * open at the same time; many of a project are one, and many of a host that began together are one.
 */
export function lines(incidents: readonly Incident[], projectOf: (incident: Incident) => string | null): Line[] {
  const hosts = new Map<string, Incident[]>();
  for (const incident of incidents) {
    const own = hosts.get(incident.host);
    if (own) own.push(incident);
    else hosts.set(incident.host, [incident]);
  }
  const all: Line[] = [];
  for (const own of hosts.values()) all.push(...ofHost(own, projectOf));
  return all.sort((a, b) => begun(b.incidents[0] ?? b.head) - begun(a.incidents[0] ?? a.head));
}

function ofHost(incidents: Incident[], projectOf: (incident: Incident) => string | null): Line[] {
  const all: Line[] = [];
  let rest = incidents;
  const take = (level: Line['level'], project: string | null, head: Incident, own: Incident[]) => {
    all.push({ key: `${level}/${own.at(-1)?.id ?? head.id}`, head, level, project, incidents: own });
    rest = rest.filter((one) => !own.includes(one));
  };
  // The gravest first: a silent host stands for its engine, its networks and its containers.
  for (const head of incidents.filter((one) => one.kind !== 'container').sort((a, b) => rankOf(b) - rankOf(a) || begun(a) - begun(b))) {
    if (!rest.includes(head)) continue;
    const until = head.closed_at ? Date.parse(head.closed_at) : Infinity;
    const from = begun(head) - NEAR;
    const own = rest.filter((one) => one === head || (rankOf(one) < rankOf(head) && begun(one) >= from && begun(one) <= until));
    take('host', null, head, own);
  }
  for (const cluster of clusters(rest)) {
    const projects = new Map<string, Incident[]>();
    for (const one of cluster) {
      const project = projectOf(one);
      if (project !== null) projects.set(project, [...(projects.get(project) ?? []), one]);
    }
    const containers = new Set(cluster.map((one) => one.container));
    if (containers.size >= SOME && projects.size !== 1) {
      take('host', null, cluster.at(-1) as Incident, cluster);
      continue;
    }
    for (const [project, own] of projects) {
      if (new Set(own.map((one) => one.container)).size >= 2) take('project', project, own.at(-1) as Incident, own);
    }
  }
  for (const own of again(rest)) take('container', null, own[0] as Incident, own);
  return all;
}

/** Those of each container, parted where it was well for longer. */
function again(incidents: Incident[]): Incident[][] {
  const all: Incident[][] = [];
  const last = new Map<string | null, Incident[]>();
  for (const one of incidents) {
    const own = last.get(one.container ?? null);
    const next = own?.at(-1);
    if (own && next && begun(next) - Date.parse(one.closed_at ?? one.opened_at) <= AGAIN) own.push(one);
    else {
      const fresh = [one];
      last.set(one.container ?? null, fresh);
      all.push(fresh);
    }
  }
  return all;
}

/** The newest first, parted where nothing began for a while. */
function clusters(incidents: Incident[]): Incident[][] {
  const all: Incident[][] = [];
  for (const one of incidents) {
    const last = all.at(-1);
    const before = last?.at(-1);
    if (last && before && begun(before) - begun(one) <= NEAR) last.push(one);
    else all.push([one]);
  }
  return all;
}

/** From when to when, milliseconds; the end is null while any of them is open. */
export function spanOf(incidents: readonly Incident[]): { from: number; to: number | null } {
  const from = Math.min(...incidents.map(begun));
  const open = incidents.some((one) => !one.closed_at);
  return { from, to: open ? null : Math.max(...incidents.map((one) => Date.parse(one.closed_at ?? ''))) };
}

export function toneOf(incident: Incident): Tone {
  if (incident.closed_at) return 'quiet';
  return incident.kind === 'clock' ? 'warn' : 'bad';
}
