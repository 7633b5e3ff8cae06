// Draws one dashboard of the classic JSON model with Grafana's own components, theme and units, from a real Prometheus.
// The page gets PROMETHEUS, NOW, SECONDS and STEP; it leaves FAILED and EMPTY behind: panels whose queries failed, or gave
// nothing.
import React, { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import {
  BarGauge, BarGaugeDisplayMode, BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, BigValueTextMode,
  GlobalStyles, PanelChrome, TimeSeries, VizRepeater,
} from '@grafana/ui';
import {
  FieldColorModeId, FieldConfigOptionsRegistry, FieldType, ThemeContext, applyFieldOverrides, createTheme, dateTime,
  getDisplayProcessor, reduceField, standardFieldConfigEditorRegistry, toDataFrame, VizOrientation,
} from '@grafana/data';

declare const window: any;
const theme = createTheme({ colors: { mode: 'dark' } });
const to = window.NOW * 1000;
const from = to - window.SECONDS * 1000;
const range: any = { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };

// Grafana's core sets these registries; without it they are empty, and no field has a unit.
const standard = ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'thresholds', 'mappings', 'noValue', 'links'];
const custom = [
  'drawStyle', 'lineWidth', 'fillOpacity', 'stacking', 'lineInterpolation', 'pointSize', 'showPoints', 'axisPlacement',
  'axisLabel', 'spanNulls', 'gradientMode', 'scaleDistribution', 'lineStyle', 'hideFrom', 'thresholdsStyle',
  'axisBorderShow', 'axisColorMode', 'axisSoftMin', 'axisSoftMax', 'barAlignment', 'insertNulls',
];
const item = (id: string, isCustom = false): any => ({
  id: (isCustom ? 'custom.' : '') + id, path: id, name: id, isCustom, shouldApply: () => true,
  process: (value: any) => value, editor: () => null, override: () => null, settings: {},
});
standardFieldConfigEditorRegistry.setInit(() => standard.map((id) => item(id)));
const registry = new FieldConfigOptionsRegistry(() => [
  ...standard.map((id) => item(id)), ...custom.map((id) => item(id, true)),
]);

const variables: Record<string, string> = {
  __rate_interval: `${window.RATE}s`, __range: `${window.SECONDS}s`, __interval: `${window.STEP}s`,
};
const filled = (text: string) => text.replace(/\$\{?(\w+)\}?/g, (whole, name) => variables[name] ?? whole);

// What the variables stand for when nothing is chosen, in the order in which they depend on each other.
async function resolve(list: any[]) {
  for (const variable of list) {
    if (variable.type === 'textbox') variables[variable.name] = variable.query;
    if (variable.type !== 'query') continue;
    const [, series, label] = variable.query.query.match(/^label_values\((.*), (\w+)\)$/);
    const query = new URLSearchParams({ 'match[]': filled(series) });
    const answer = await (await fetch(`${window.PROMETHEUS}/api/v1/label/${label}/values?${query}`)).json();
    variables[variable.name] = variable.allValue ?? answer.data.join('|');
  }
}

async function frames(panel: any) {
  const frames: any[] = [];
  for (const target of panel.targets) {
    window.QUERIES++;
    const query = new URLSearchParams({
      query: filled(target.expr), start: String(from / 1000), end: String(to / 1000), step: String(window.STEP),
    });
    const answer = await (await fetch(`${window.PROMETHEUS}/api/v1/query_range?${query}`)).json();
    if (answer.status !== 'success') {
      window.FAILED.push(`${panel.title}: ${answer.error}`);
      continue;
    }
    let values = 0;
    for (const series of answer.data.result) {
      const name = (target.legendFormat || '').replace(/\{\{\s*(\w+)\s*\}\}/g, (_: any, label: string) => series.metric[label] ?? '');
      const numbers = series.values.map(([, text]: any) => { const number = parseFloat(text); return Number.isFinite(number) ? number : null; });
      values += numbers.filter((number: any) => number !== null).length;
      frames.push(toDataFrame({
        refId: target.refId, name,
        fields: [
          { name: 'Time', type: FieldType.time, values: series.values.map(([time]: any) => time * 1000), config: { interval: window.STEP * 1000 } },
          { name: 'Value', type: FieldType.number, labels: series.metric, values: numbers, config: { displayNameFromDS: name } },
        ],
      }));
    }
    if (values === 0) window.EMPTY.push(`${panel.title}: ${target.legendFormat}`);
  }
  const fieldConfig = { ...panel.fieldConfig, defaults: { color: { mode: FieldColorModeId.PaletteClassic }, ...panel.fieldConfig.defaults } };
  return applyFieldOverrides({
    data: frames, fieldConfig, replaceVariables: filled as any, theme, timeZone: 'utc', fieldConfigRegistry: registry as any,
  });
}

function lastValue(frame: any) {
  const field = frame.fields[1];
  const value = reduceField({ field, reducers: ['lastNotNull'] }).lastNotNull;
  return (field.display ?? getDisplayProcessor({ field, theme }))(value);
}

function Content({ panel, data, width, height }: any) {
  if (!data) return <span />;
  if (!data.length) return <div style={{ width, height, display: 'flex', alignItems: 'center', justifyContent: 'center' }}>No data</div>;
  if (panel.type === 'timeseries') {
    return <TimeSeries frames={data} width={width} height={height} timeRange={range} timeZone="utc" legend={panel.options.legend} />;
  }
  if (panel.type === 'bargauge') {
    const values = data.map((frame: any) => ({ frame, value: { ...lastValue(frame), title: frame.name } }));
    // As Grafana does: the longest bar is the largest value.
    const max = Math.max(...values.map(({ value }: any) => value.numeric));
    return (
      <VizRepeater width={width} height={height} orientation={VizOrientation.Horizontal} source={values} getValues={() => values}
        itemSpacing={8} minVizWidth={8} minVizHeight={24}
        renderValue={({ value, width, height }: any) => (
          <BarGauge width={width} height={height} theme={theme} value={value.value} field={{ min: 0, max, ...value.frame.fields[1].config }}
            display={value.frame.fields[1].display} orientation={VizOrientation.Horizontal}
            displayMode={BarGaugeDisplayMode.Basic} itemSpacing={8} lcdCellWidth={12} />
        )}
      />
    );
  }
  const mode = panel.options.colorMode === 'background' ? BigValueColorMode.Background : BigValueColorMode.Value;
  return (
    <BigValue width={width} height={height} theme={theme} value={lastValue(data[0])} colorMode={mode}
      sparkline={{ y: data[0].fields[1], x: data[0].fields[0], timeRange: range } as any}
      graphMode={BigValueGraphMode.Area} justifyMode={BigValueJustifyMode.Auto} textMode={BigValueTextMode.Auto} />
  );
}

const COLUMN = window.WIDTH / 24;
const LINE = 38;

function Panel({ panel }: any) {
  const [data, setData] = useState<any>(null);
  useEffect(() => {
    frames(panel).then(setData, (error) => window.FAILED.push(`${panel.title}: ${error}`)).finally(() => window.DONE++);
  }, []);
  const { x, y, w, h } = panel.gridPos;
  return (
    <div style={{ position: 'absolute', left: x * COLUMN, top: y * LINE }}>
      <PanelChrome width={w * COLUMN - 8} height={h * LINE - 8} title={panel.title}>
        {(width: number, height: number) => <Content panel={panel} data={data} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

function Heading({ panel }: any) {
  const { y } = panel.gridPos;
  return <div style={{ position: 'absolute', left: 4, top: y * LINE + 8, fontWeight: 500 }}>⌄ {panel.title}</div>;
}

window.FAILED = []; window.EMPTY = []; window.DONE = 0; window.QUERIES = 0;
(async () => {
  const dashboard = await (await fetch('/dashboard.json')).json();
  await resolve(dashboard.templating.list);
  window.TOTAL = dashboard.panels.filter((panel: any) => panel.type !== 'row').length;
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }: any) => gridPos.y + gridPos.h));
  Object.assign(document.body.style, {
    background: theme.colors.background.canvas, color: theme.colors.text.primary, margin: '8px',
    fontFamily: theme.typography.fontFamily, fontSize: '14px',
  });
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <h3 style={{ margin: '4px 4px 8px' }}>{dashboard.title}</h3>
      <div style={{ position: 'relative', height: bottom * LINE }}>
        {dashboard.panels.map((panel: any) => panel.type === 'row' ? <Heading key={panel.id} panel={panel} /> : <Panel key={panel.id} panel={panel} />)}
      </div>
    </ThemeContext.Provider>,
  );
})();
