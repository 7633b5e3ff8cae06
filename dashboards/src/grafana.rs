//! Grafana's classic JSON model. Provisioning, the sidecar that reads `ConfigMap`s, and people who import a file all take
//! it; so there are no `__inputs`, which only the last would be asked for: the data source is a variable.

use serde_json::{Value, json};

use crate::model::{Dashboard, Look, Panel, Threshold, Variable};

/// The version of the model.
const SCHEMA_VERSION: u32 = 41;
/// The tag that all of them have, by which they link to each other.
const TAG: &str = "countersign";

/// Writes a dashboard.
#[must_use]
pub fn write(dashboard: &Dashboard) -> Value {
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "id": null,
        "editable": false,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": dashboard.from, "to": "now"},
        "links": [{
            "title": "Countersign",
            "type": "dashboards",
            "tags": [TAG],
            "asDropdown": true,
            "includeVars": true,
            "keepTime": true,
            "targetBlank": false,
            "icon": "external link",
            "tooltip": "The other dashboards, with the same choices",
            "url": "",
        }],
        "annotations": {"list": [alerts()]},
        "templating": {"list": variables(&dashboard.variables)},
        "panels": panels(dashboard),
    })
}

fn data_source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// Alerts that fire are marked in every graph.
fn alerts() -> Value {
    json!({
        "name": "Alerts",
        "datasource": data_source(),
        "enable": true,
        "iconColor": "red",
        "expr": r#"ALERTS{alertname=~"Countersign.*",alertstate="firing"}"#,
        "titleFormat": "{{alertname}}",
        "step": "60s",
    })
}

fn variables(variables: &[Variable]) -> Vec<Value> {
    let source = json!({
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
    });
    std::iter::once(source).chain(variables.iter().map(variable)).collect()
}

fn variable(variable: &Variable) -> Value {
    match variable {
        Variable::Label { name, title, series, label, all } => {
            let mut variable = json!({
                "name": name,
                "label": title,
                "type": "query",
                "datasource": data_source(),
                "query": {"query": format!("label_values({series}, {label})"), "refId": "Variable"},
                "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
                "includeAll": true,
                "multi": true,
                // When the time range changes: pods come and go.
                "refresh": 2,
                "regex": "",
                "sort": 1,
                "hide": 0,
            });
            // Without it, "all" is the values that there are, as a pattern.
            if let Some(all) = all {
                variable["allValue"] = json!(all);
            }
            variable
        }
        Variable::Number { name, title, value } => json!({
            "name": name,
            "label": title,
            "type": "textbox",
            "query": value,
            "current": {"selected": true, "text": value, "value": value},
            "options": [{"selected": true, "text": value, "value": value}],
            "hide": 0,
        }),
    }
}

fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let mut written = Vec::new();
    let (mut id, mut y) = (0_u32, 0_u32);
    for row in &dashboard.rows {
        id += 1;
        written.push(json!({
            "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        }));
        y += 1;
        let (mut x, mut height) = (0_u32, 0_u32);
        for panel in &row.panels {
            if x + u32::from(panel.width) > 24 {
                (x, y, height) = (0, y + height, 0);
            }
            id += 1;
            written.push(write_panel(panel, id, x, y));
            x += u32::from(panel.width);
            height = height.max(panel.height.into());
        }
        y += height;
    }
    written
}

fn write_panel(panel: &Panel, id: u32, x: u32, y: u32) -> Value {
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip("ABCDEFGHIJ".chars())
        .map(|(query, letter)| {
            json!({
                "refId": letter.to_string(),
                "datasource": data_source(),
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": true,
                "instant": false,
                "editorMode": "code",
            })
        })
        .collect();
    json!({
        "id": id,
        "type": kind(panel.look),
        "title": panel.title,
        "description": panel.description,
        "datasource": data_source(),
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": targets,
        "fieldConfig": {"defaults": field(panel), "overrides": []},
        "options": options(panel),
    })
}

const fn kind(look: Look) -> &'static str {
    match look {
        Look::Lines | Look::Stacked => "timeseries",
        Look::Stat => "stat",
        Look::Bars => "bargauge",
    }
}

fn field(panel: &Panel) -> Value {
    let mut field = json!({"unit": panel.unit.id(), "thresholds": thresholds(&panel.thresholds)});
    let is_graph = matches!(panel.look, Look::Lines | Look::Stacked);
    let mode = if is_graph || panel.thresholds.is_empty() { "palette-classic" } else { "thresholds" };
    field["color"] = json!({"mode": mode});
    if (is_graph || panel.look == Look::Bars) && !panel.signed {
        field["min"] = json!(0);
    }
    if let Some(max) = panel.max {
        field["max"] = json!(max);
    }
    if let Some(decimals) = panel.decimals {
        field["decimals"] = json!(decimals);
    }
    if is_graph {
        let stacked = panel.look == Look::Stacked;
        field["custom"] = json!({
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": if stacked { 1 } else { 2 },
            "fillOpacity": if stacked { 40 } else if panel.signed { 0 } else { 8 },
            "stacking": {"mode": if stacked { "normal" } else { "none" }, "group": "A"},
            "showPoints": "never",
            "spanNulls": false,
            "thresholdsStyle": {"mode": if panel.lines_at_thresholds { "dashed" } else { "off" }},
        });
    }
    field
}

fn thresholds(thresholds: &[Threshold]) -> Value {
    let step = |threshold: &Threshold| {
        let from = (threshold.from > f64::MIN).then_some(threshold.from);
        json!({"color": threshold.colour, "value": from})
    };
    let steps: Vec<Value> = thresholds.iter().map(step).collect();
    let steps = if steps.is_empty() { vec![json!({"color": "blue", "value": null})] } else { steps };
    json!({"mode": "absolute", "steps": steps})
}

fn options(panel: &Panel) -> Value {
    let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    match panel.look {
        Look::Lines | Look::Stacked => {
            let labelled = panel.queries.iter().any(|query| query.legend.contains("{{"));
            let legend = if labelled || panel.queries.len() > 1 {
                // Beside a wide graph there is room for many series; in any place the largest come first.
                let beside = panel.width >= 12 && (labelled || panel.queries.len() > 3);
                let placement = if beside { "right" } else { "bottom" };
                let calcs: &[&str] = if beside { &["mean", "max"] } else { &["mean", "max", "lastNotNull"] };
                json!({
                    "displayMode": "table", "placement": placement, "showLegend": true, "calcs": calcs,
                    // In the order of the queries where there are few, and each has a name.
                    "sortBy": if labelled { Some("Max") } else { None }, "sortDesc": true,
                })
            } else {
                json!({"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []})
            };
            json!({"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}})
        }
        Look::Stat => json!({
            "reduceOptions": last,
            "colorMode": if panel.thresholds.is_empty() { "value" } else { "background" },
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
        }),
        Look::Bars => json!({
            "reduceOptions": last,
            "displayMode": "basic",
            "orientation": "horizontal",
            "showUnfilled": true,
            "valueMode": "color",
        }),
    }
}
