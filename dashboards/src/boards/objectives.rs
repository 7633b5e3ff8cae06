//! The objectives of docs/slo.md, and how fast their budgets burn.

use crate::model::{Dashboard, Panel, Row, Unit};
use crate::query::{FLEET, scope};

/// An objective, as the rules record it.
struct Objective {
    title: &'static str,
    /// The recorded series, without its window.
    errors: &'static str,
    /// The share that may miss it.
    budget: &'static str,
    left: &'static str,
    burn: &'static str,
}

const OBJECTIVES: [Objective; 3] = [
    Objective {
        title: "Availability: 99.95 % of requests do not fail",
        errors: "countersign:availability_errors:ratio_rate",
        budget: "0.0005",
        left: "Of the failures that the objective allows in 30 days, how much has not happened. Less than -100 % is shown as that.",
        burn: "1 uses up exactly the budget of 30 days in 30 days. Above 14.4 over an hour or 6 over six hours somebody is paged, above 3 over a day or 1 over three days there is a ticket.",
    },
    Objective {
        title: "Sending: 99 % of messages are stored and answered within 50 ms",
        errors: "countersign:send_slow:ratio_rate",
        budget: "0.01",
        left: "Of the slow answers that the objective allows in 30 days, how much has not happened. Less than -100 % is shown as that.",
        burn: "1 uses up exactly the budget of 30 days in 30 days. The same limits as above page somebody.",
    },
    Objective {
        title: "Delivery: 99 % of messages are listed to a waiting client within 1 s",
        errors: "countersign:delivery_late:ratio_rate",
        budget: "0.01",
        left: "Of the late deliveries that the objective allows in 30 days, how much has not happened. Less than -100 % is shown as that.",
        burn: "1 uses up exactly the budget of 30 days in 30 days. The same limits as above page somebody.",
    },
];

pub(super) fn dashboard() -> Dashboard {
    let mut rows: Vec<Row> = OBJECTIVES.iter().map(row).collect();
    rows.push(lost());
    Dashboard {
        uid: "countersign-slo",
        title: "Countersign / SLO",
        description: "Each objective of docs/slo.md: how much of its error budget is left, and how fast it burns over several \
                      windows. The recording rules of prometheus/rules make the series.",
        variables: scope(),
        rows,
        from: "now-6h",
    }
}

fn row(objective: &Objective) -> Row {
    let Objective { title, errors, budget, left, burn } = *objective;
    let of = |window: &str| format!("avg({errors}{window}{{{FLEET}}})");
    let mut burning = Panel::lines(Unit::Number, "Burn rate", burn).size(14, 9).objective(14.4);
    for window in ["5m", "30m", "1h", "2h", "6h", "1d", "3d"] {
        burning = burning.ask(format!("{} / {budget}", of(window)), window);
    }
    Row {
        title,
        panels: vec![
            Panel::stat(Unit::Share, "Error budget left, of 30 days", left)
                .ask(format!("clamp_min(1 - {} / {budget}, -1)", of("30d")), "left")
                .good_above(0.0, 0.25)
                .digits(1)
                .size(5, 9),
            Panel::lines(
                Unit::Share,
                "Missed, now",
                "The share of the last five minutes that missed the objective. The line is what it allows.",
            )
            .ask(of("5m"), "missed")
            .objective(budget.parse().unwrap_or_default())
            .size(5, 9),
            burning,
        ],
    }
}

fn lost() -> Row {
    Row {
        title: "Lost: no message",
        panels: vec![
            Panel::stat(Unit::Number, "Messages lost in 30 days",
                "By the canary, which writes to itself through the service all the time: messages that were answered 201 and did \
                 not come back in time. One is an incident.",
            )
            .ask("sum(increase(countersign_canary_lost_total[30d]))", "lost")
                .bad_above(0.5, 1.0)
                .digits(0)
                .size(8, 5),
            Panel::stat(Unit::Number, "Stragglers in 30 days", "Messages that became visible later than the inconsistent window. Delivered all the same, but they show that the window's bet was lost.")
                .ask(format!("sum(increase(countersign_stragglers_total{{{}}}[30d]))", crate::query::SCOPE), "stragglers")
                .bad_above(0.5, 10.0)
                .digits(0)
                .size(8, 5),
            Panel::stat(Unit::Number, "About to expire unfetched, in 30 days", "Items that were listed in the last tenth of their retention.")
                .ask(format!("sum(increase(countersign_items_expiring_total{{{}}}[30d]))", crate::query::SCOPE), "items")
                .bad_above(0.5, 10.0)
                .digits(0)
                .size(8, 5),
        ],
    }
}
