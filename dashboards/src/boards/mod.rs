//! The dashboards, one a file.

mod capacity;
mod delivery;
mod dependencies;
mod loadtest;
mod objectives;
mod overview;
mod scaling_business;
mod scaling_single;

use crate::model::{Dashboard, Panel};

/// Matches the requests that send a message.
const SENDING: &str = r#"operation="send_message""#;

/// Asks for percentiles of sending, and draws the objective for the last of them.
fn percentiles_of_sending(panel: Panel, quantile: impl Fn(f64) -> String) -> Panel {
    panel.ask(quantile(0.5), "p50").ask(quantile(0.9), "p90").ask(quantile(0.99), "p99").objective(0.05)
}

/// Every dashboard, in the order in which somebody would read them.
#[must_use]
pub fn all() -> Vec<Dashboard> {
    vec![
        overview::dashboard(),
        scaling_single::dashboard(),
        scaling_business::dashboard(),
        capacity::dashboard(),
        delivery::dashboard(),
        dependencies::dashboard(),
        objectives::dashboard(),
        loadtest::dashboard(),
    ]
}
