// Fails the build when all pages together have grown beyond their bound.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** The most that they may take, gzipped, bytes: 10 KiB of them are the network's graph, matrix and histograms, loaded when gone to. */
const BOUND = 160 * 1024;

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });

let total = 0;
for (const path of files('dist').sort()) {
  const size = gzipSync(readFileSync(path), { level: 9 }).length;
  total += size;
  console.log(`${path.padEnd(44)} ${String(size).padStart(7)} bytes gzipped`);
}
console.log(`all pages: ${(total / 1024).toFixed(1)} of at most ${BOUND / 1024} KiB`);
if (total > BOUND) {
  console.error('the pages are larger than their bound');
  process.exit(1);
}
