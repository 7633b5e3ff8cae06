// Draws dashboards as pictures, in headless Chromium.
//
//   node draw.mjs <prometheus> <folder of dashboards> <folder of pictures> <seconds> <rate interval>
//
// Writes what failed or was empty to standard output, a JSON line for each dashboard.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import * as esbuild from 'esbuild';
import { chromium } from 'playwright-core';

const [prometheus, dashboards, pictures, seconds, rate] = process.argv.slice(2);
const WIDTH = 1500;

await esbuild.build({
  entryPoints: ['src/main.tsx'], bundle: true, outfile: 'dist/main.js', format: 'esm', logLevel: 'error', minify: true,
  loader: { '.svg': 'dataurl', '.ttf': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl', '.png': 'dataurl' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
});

const now = await (await fetch(`${prometheus}/api/v1/query?query=time()`)).json().then((answer) => answer.data.result[0]);
let current;
const settings = JSON.stringify({
  PROMETHEUS: '/prometheus', NOW: Number(now), SECONDS: Number(seconds), RATE: Number(rate), WIDTH,
  STEP: Math.max(1, Math.round(Number(seconds) / 150)), process: { env: { NODE_ENV: 'production' } },
});
const pages = {
  '/': () => ['text/html', `<!doctype html><meta charset=utf-8><link rel=stylesheet href=/main.css><div id=root></div>
    <script>Object.assign(window, ${settings})</script><script type=module src=/main.js></script>`],
  '/main.js': () => ['text/javascript', fs.readFileSync('dist/main.js')],
  '/main.css': () => ['text/css', fs.existsSync('dist/main.css') ? fs.readFileSync('dist/main.css') : ''],
  '/dashboard.json': () => ['application/json', fs.readFileSync(current)],
};
const server = http.createServer(async (request, response) => {
  if (request.url.startsWith('/prometheus/')) {
    const answer = await fetch(prometheus + request.url.slice('/prometheus'.length));
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    return response.end(await answer.text());
  }
  const page = pages[request.url];
  if (!page) { response.writeHead(404); return response.end(); }
  const [type, body] = page();
  response.writeHead(200, { 'content-type': type });
  response.end(body);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const address = `http://127.0.0.1:${server.address().port}/`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
let failed = false;
fs.mkdirSync(pictures, { recursive: true });
for (const file of fs.readdirSync(dashboards).filter((name) => name.endsWith('.json')).sort()) {
  current = path.join(dashboards, file);
  const page = await browser.newPage({ viewport: { width: WIDTH + 20, height: 900 } });
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error).slice(0, 300)));
  await page.goto(address);
  await page.waitForFunction('window.TOTAL > 0 && window.DONE === window.TOTAL', { timeout: 60_000 })
    .catch(() => errors.push('not all panels were drawn in time'));
  // Two frames: canvases are drawn in the one after their data came.
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(drawn, 300)))));
  const { FAILED, EMPTY } = await page.evaluate('({FAILED: window.FAILED, EMPTY: window.EMPTY})');
  // A picture of nothing would be mistaken for one of nothing wrong.
  const queries = await page.evaluate('window.QUERIES');
  const drawn = EMPTY.length < queries;
  if (drawn) await page.screenshot({ path: path.join(pictures, file.replace(/\.json$/, '.png')), fullPage: true });
  await page.close();
  failed ||= errors.length > 0 || FAILED.length > 0;
  console.log(JSON.stringify({ dashboard: file, drawn, errors, failed: FAILED, empty: EMPTY }));
}
await browser.close();
server.close();
process.exit(failed ? 1 : 0);
