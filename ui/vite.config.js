import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// `npm run dev` shows the pages on a dockhealth that runs: DOCKHEALTH=http://127.0.0.1:8930 npm run dev
const target = process.env.DOCKHEALTH ?? 'http://127.0.0.1:8930';
const proxy = Object.fromEntries(['/api', '/docs', '/readyz'].map((path) => [path, { target }]));

export default defineConfig({
  plugins: [svelte()],
  server: { proxy },
  build: {
    target: 'es2022',
    // One style sheet: two requests after the page itself, then it is painted.
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    // The policy of the pages allows no data: but images.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
