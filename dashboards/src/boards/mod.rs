//! The dashboards, one a file.

mod capacity;
mod delivery;
mod dependencies;
mod loadtest;
mod objectives;
mod overview;
mod scaling_business;
mod scaling_single;

use crate::model::Dashboard;

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
