//! What must hold of dashboards, rules, runbooks and the page of metrics, without a Prometheus.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use countersign_dashboards::contract::{Exported, Source, asked};
use countersign_dashboards::model::{Dashboard, Panel, Variable};
use countersign_dashboards::rules::{Group, Rule};
use countersign_dashboards::{boards, generated, grafana, rules};
use countersign_metrics::SERVICE;
use serde_json::Value;

/// Metrics of the service that no dashboard shows and no rule asks for, each with its reason.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("countersign_rejections_total", "a sum of countersign_requests_total, for quick looks by hand"),
    ("process_virtual_memory_bytes", "address space says nothing of a program that maps files"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn groups() -> Vec<Group> {
    rules::read(&root().join(generated::RULES)).unwrap()
}

fn all_rules() -> Vec<Rule> {
    groups().into_iter().flat_map(|group| group.rules).collect()
}

fn alerts() -> Vec<Rule> {
    all_rules().into_iter().filter(|rule| rule.alert.is_some()).collect()
}

fn panels(dashboard: &Dashboard) -> impl Iterator<Item = &Panel> {
    dashboard.rows.iter().flat_map(|row| &row.panels)
}

#[test]
fn what_is_committed_is_what_is_generated() {
    let files = generated::files(&root()).unwrap();
    for (path, text) in &files {
        let committed = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        assert!(committed == *text, "{} is stale: run `make dashboards`", path.display());
    }
    let written: BTreeSet<_> = files.iter().map(|(path, _)| root().join(path)).collect();
    for entry in std::fs::read_dir(root().join(generated::DASHBOARDS)).unwrap() {
        let path = entry.unwrap().path();
        assert!(written.contains(&path), "{} is of no dashboard", path.display());
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for dashboard in boards::all() {
        let mut titles = BTreeSet::new();
        assert!(!dashboard.description.is_empty());
        for (row, panel) in dashboard.rows.iter().flat_map(|row| row.panels.iter().map(move |panel| (row, panel))) {
            let what = format!("{}: {}", dashboard.title, panel.title);
            assert!(!panel.title.is_empty() && titles.insert((row.title, panel.title)), "{what} is there twice");
            assert!(panel.description.ends_with('.') && panel.description.len() > 15, "{what} has no description");
            assert!(!panel.unit.id().is_empty(), "{what}");
            assert!((1..=10).contains(&panel.queries.len()), "{what} has {} queries", panel.queries.len());
            assert!(panel.width <= 24, "{what}");
            for query in &panel.queries {
                assert!(!query.legend.is_empty(), "{what} has a series without a name");
            }
        }
    }
}

/// The rules of Grafana's dashboard-linter that apply to generated dashboards.
#[test]
fn dashboards_can_be_imported_and_provisioned_as_they_are() {
    let mut uids = BTreeSet::new();
    for dashboard in boards::all() {
        let json = grafana::write(&dashboard);
        assert!(uids.insert(dashboard.uid) && dashboard.uid.starts_with("countersign-"));
        assert!(dashboard.uid.len() <= 40, "Grafana refuses longer ones");
        assert!(json.get("__inputs").is_none() && json.get("__requires").is_none());
        assert_eq!(json["editable"], false);
        assert_eq!(json["templating"]["list"][0]["type"], "datasource");
        assert_eq!(json["links"][0]["tags"], json["tags"], "they link to each other");
        let mut ids = BTreeSet::new();
        let mut places = Vec::new();
        for panel in json["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()));
            let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
            assert!(x + w <= 24);
            for (other_x, other_y, other_w, other_h) in &places {
                let apart = x >= other_x + other_w || *other_x >= x + w;
                assert!(
                    apart || y >= other_y + other_h || *other_y >= y + h,
                    "{} is on another panel",
                    panel["title"]
                );
            }
            places.push((x, y, w, h));
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}");
            }
        }
        // A ConfigMap holds 1 MiB.
        assert!(serde_json::to_string_pretty(&json).unwrap().len() < 512 * 1024);
    }
}

#[test]
fn rates_are_over_the_interval_that_fits_the_time_range() {
    for dashboard in boards::all() {
        for panel in panels(&dashboard) {
            for query in &panel.queries {
                for range in query.expression.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
                    let long = ["$__range", "30d"].contains(&range) && query.expression.contains("increase(");
                    assert!(range == "$__rate_interval" || long, "{}: {}: [{range}]", dashboard.title, panel.title);
                }
            }
        }
    }
}

#[test]
fn every_variable_is_used_and_every_one_that_is_used_is_there() {
    for dashboard in boards::all() {
        let expressions = panels(&dashboard).flat_map(|panel| &panel.queries).map(|query| query.expression.as_str());
        let text = expressions.collect::<Vec<_>>().join(
            "
",
        );
        let declared: BTreeSet<&str> = dashboard
            .variables
            .iter()
            .map(|variable| match variable {
                Variable::Label { name, .. } | Variable::Number { name, .. } => *name,
            })
            .collect();
        for name in &declared {
            assert!(text.contains(&format!("${name}")), "{}: ${name} is not used", dashboard.title);
        }
        for rest in text.split('$').skip(1) {
            let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            assert!(name.starts_with("__") || declared.contains(&*name), "{}: ${name}", dashboard.title);
        }
    }
}

#[test]
fn what_is_asked_for_is_exported() {
    let rules = all_rules();
    let exported = Exported::with_recorded(rules.iter().filter_map(|rule| rule.record.as_deref()));
    let mut queries = BTreeMap::new();
    for dashboard in boards::all() {
        for panel in panels(&dashboard) {
            for query in &panel.queries {
                queries.insert(query.expression.clone(), format!("{}: {}", dashboard.title, panel.title));
            }
        }
    }
    queries.extend(rules.iter().map(|rule| (rule.expr.clone(), format!("rule {}", rule.name()))));
    let mut faults = Vec::new();
    for (query, place) in &queries {
        for series in asked(query).unwrap() {
            faults.extend(exported.fault(&series).map(|fault| format!("{place}: {fault}")));
        }
    }
    assert!(queries.len() > 100 && faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_is_exported_is_looked_at() {
    let boards = boards::all();
    let queries =
        boards.iter().flat_map(panels).flat_map(|panel| &panel.queries).map(|query| query.expression.clone());
    let asked: BTreeSet<String> = queries
        .chain(all_rules().into_iter().map(|rule| rule.expr))
        .flat_map(|query| asked(&query).unwrap())
        .map(|series| series.name)
        .collect();
    for metric in SERVICE {
        let shown = metric.series_names().iter().any(|name| asked.contains(name));
        let excused = NOT_SHOWN.iter().any(|(name, _)| *name == metric.name);
        assert!(shown != excused, "{}: shown {shown}, and excused {excused}", metric.name);
    }
}

#[test]
fn what_is_asked_of_the_canary_is_declared_there() {
    // Its own test holds that it exports what it declares.
    let declared = std::fs::read_to_string(root().join("loadtest/src/canary/metrics.rs")).unwrap();
    let exported = Exported::with_recorded(std::iter::empty());
    for name in exported.series_of(Source::Canary) {
        let metric = name.trim_end_matches("_bucket");
        assert!(declared.contains(&format!("(\"{metric}\", ")), "the canary has no {metric}");
    }
}

#[test]
fn every_alert_tells_what_to_do() {
    let uids: BTreeSet<String> = boards::all().iter().map(|dashboard| format!("/d/{}", dashboard.uid)).collect();
    let mut pages = BTreeSet::from(["README".to_owned()]);
    let index = std::fs::read_to_string(root().join("docs/runbooks/README.md")).unwrap();
    for alert in alerts() {
        let name = alert.name();
        assert!(name.starts_with("Countersign"), "{name}");
        assert!(["page", "ticket"].contains(&alert.labels["severity"].as_str()), "{name}");
        for annotation in ["summary", "description"] {
            assert!(alert.annotations[annotation].len() > 10, "{name}: {annotation}");
        }
        assert!(uids.contains(&alert.annotations["dashboard"]), "{name}");
        let url = &alert.annotations["runbook_url"];
        let page = url.strip_prefix("https://github.com/countersign/countersign/blob/main/").unwrap();
        assert_eq!(page, format!("docs/runbooks/{name}.md"));
        let text = std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        for heading in [&format!("# {name}\n"), "\n## What it means\n", "\n## What to look at\n", "\n## What to do\n"]
        {
            assert!(text.contains(heading), "{page} has no {heading:?}");
        }
        assert!(index.contains(&format!("({name}.md)")), "{name} is not in the list of runbooks");
        pages.insert(name.to_owned());
    }
    for entry in std::fs::read_dir(root().join("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        assert!(pages.contains(path.file_stem().unwrap().to_str().unwrap()), "{} is of no alert", path.display());
    }
}

#[test]
fn panels_that_runbooks_name_are_there() {
    let titles: BTreeSet<&str> = boards::all().iter().flat_map(panels).map(|panel| panel.title).collect();
    let boards: BTreeSet<&str> = boards::all()
        .iter()
        .filter_map(|dashboard| dashboard.title.strip_prefix("Countersign / "))
        .map(|title| title.split(':').next().unwrap())
        .collect();
    for alert in alerts() {
        let page = std::fs::read_to_string(root().join(format!("docs/runbooks/{}.md", alert.name()))).unwrap();
        let (_, look) = page.split_once("## What to look at").unwrap();
        // Dashboards are bold in a runbook, and panels are in italics after them.
        for (number, name) in look.split("**").enumerate() {
            assert!(number % 2 == 0 || boards.contains(name), "{}: no dashboard {name}", alert.name());
        }
        for (number, name) in look.replace("**", "").split('*').enumerate() {
            let is_there = titles.iter().any(|title| title.starts_with(name));
            assert!(number % 2 == 0 || is_there, "{}: no panel {name}", alert.name());
        }
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let tests: String = ["alerts.yaml", "objectives.yaml"]
        .iter()
        .map(|name| std::fs::read_to_string(root().join("prometheus/tests").join(name)).unwrap())
        .collect();
    for alert in alerts() {
        let fires = format!("alertname=\"{}\"", alert.name());
        assert!(tests.contains(&fires), "{} fires in no test", alert.name());
    }
}

#[test]
fn objectives_are_the_same_numbers_everywhere() {
    let page = std::fs::read_to_string(root().join("docs/slo.md")).unwrap();
    for number in ["99.95 %", "50 ms", "1 s", "14.4"] {
        assert!(page.contains(number), "docs/slo.md does not say {number}");
    }
    let rules = std::fs::read_to_string(root().join("prometheus/rules/recording.yaml")).unwrap();
    assert!(rules.contains(r#"le="0.05""#) && rules.contains(r#"le="1""#));
}

#[test]
fn a_broken_dashboard_is_found() {
    // The checks above look at a value like this one.
    let json: Value = serde_json::json!({"expr": "rate(countersign_no_such_total[5m])"});
    let series = asked(json["expr"].as_str().unwrap()).unwrap();
    let exported = Exported::with_recorded(std::iter::empty());
    assert!(exported.fault(series.first().unwrap()).is_some());
}
