// Checks dashboards against the types of Grafana's own model, with the TypeScript compiler.
//
//   node model.mjs <folder of dashboards>
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const [dashboards] = process.argv.slice(2);
const names = fs.readdirSync(dashboards).filter((name) => name.endsWith('.json')).sort();
// JSON has the values of enumerations, where the types want their names.
let text = `import type { Dashboard } from '@grafana/schema';
type Plain<T> = T extends string ? \`\${T}\` : T extends number ? number : T extends boolean ? boolean
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
`;
// What the plugin of Prometheus adds to annotations is not in the model of the core.
text += 'type Ours = Plain<Dashboard> & { annotations: { list: { expr: string; step: string; titleFormat: string }[] } };\n';
for (const [number, name] of names.entries()) {
  text += `export const dashboard${number}: Ours = ${fs.readFileSync(path.join(dashboards, name), 'utf8')};\n`;
}
fs.writeFileSync('model.ts', text);
try {
  execFileSync('node_modules/.bin/tsc', ['--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022', 'model.ts'], { stdio: 'pipe' });
  console.log(`${names.length} dashboards are of Grafana's model`);
} catch (error) {
  console.log(String(error.stdout).slice(0, 4000));
  process.exit(1);
}
