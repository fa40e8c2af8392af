// Makes `src/api/schema.d.ts` of the interface's description, so that what does not fit it does not compile.
import { readFileSync, writeFileSync } from 'node:fs';
import openapi, { astToString } from 'openapi-typescript';

const source = new URL('../../src/controller/http/openapi.json', import.meta.url);
const target = new URL('../src/api/schema.d.ts', import.meta.url);

const description = JSON.parse(readFileSync(source, 'utf8'));
for (const operations of Object.values(description.paths)) {
  // Paths name what is asked for; operations would be told apart by names that not all of them have alone.
  for (const operation of Object.values(operations)) delete operation.operationId;
}
writeFileSync(target, astToString(await openapi(description, { defaultNonNullable: false })));
