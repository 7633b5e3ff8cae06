//! Tables, for the page and as Markdown.

use super::number::{Unit, digits, grouped};
use super::{add, escaped};

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows; may be empty.
    pub title: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// What is in it, without the unit.
    pub title: String,
    /// The unit of its numbers, which are to the right; none for words, which are to the left.
    pub unit: Option<Unit>,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number in the base of the column's unit: seconds, bytes, shares of 1.
    Number(f64),
    /// A number that may not be held against the others as it is, with the reason.
    Remark(f64, String),
    /// Nothing was measured.
    None,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl Column {
    /// Makes a column of words.
    #[must_use]
    pub fn text(title: impl Into<String>) -> Self {
        Self { title: title.into(), unit: None }
    }

    /// Makes a column of numbers.
    #[must_use]
    pub fn number(title: impl Into<String>, unit: Unit) -> Self {
        Self { title: title.into(), unit: Some(unit) }
    }
}

/// How the numbers of one column are written, all alike.
struct Form {
    unit: Option<Unit>,
    factor: f64,
    sign: &'static str,
    digits: usize,
}

impl Table {
    /// Returns the column's title with its unit, and how its numbers are written.
    fn form(&self, index: usize, column: &Column) -> Form {
        let Some(unit) = &column.unit else { return Form { unit: None, factor: 1.0, sign: "", digits: 0 } };
        let numbers = || {
            self.rows.iter().filter_map(|row| match row.get(index) {
                Some(Cell::Number(number) | Cell::Remark(number, _)) if number.is_finite() => Some(number.abs()),
                _ => None,
            })
        };
        let most = numbers().fold(0.0, f64::max);
        let size = unit.sized(most);
        let whole = *unit == Unit::Count && numbers().all(|number| number.fract() == 0.0);
        let digits = if whole { 0 } else { digits(most * size.factor) };
        Form { unit: Some(unit.clone()), factor: size.factor, sign: size.sign, digits }
    }

    fn forms(&self) -> Vec<Form> {
        self.columns.iter().enumerate().map(|(index, column)| self.form(index, column)).collect()
    }

    fn heading(column: &Column, form: &Form) -> String {
        match (form.sign, column.title.as_str()) {
            ("", title) => title.to_owned(),
            (sign, "") => sign.to_owned(),
            (sign, title) => format!("{title} ({sign})"),
        }
    }

    fn written(form: &Form, number: f64) -> String {
        match form.unit {
            Some(Unit::Elapsed) => super::number::clock(number, form.sign),
            _ => grouped(number * form.factor, form.digits),
        }
    }

    /// Returns it as Markdown, the remarks below it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let forms = self.forms();
        let mut text = String::new();
        let plain = |words: &str| words.replace('|', "\\|").replace('\n', " ");
        for (column, form) in self.columns.iter().zip(&forms) {
            add(&mut text, format_args!("| {} ", plain(&Self::heading(column, form))));
        }
        text.push_str("|\n");
        for column in &self.columns {
            text.push_str(if column.unit.is_some() { "|--:" } else { "|---" });
        }
        text.push_str("|\n");
        let mut remarks: Vec<&str> = Vec::new();
        for row in &self.rows {
            for (cell, form) in row.iter().zip(&forms) {
                let cell = match cell {
                    Cell::Text(words) => plain(words),
                    Cell::Number(number) => Self::written(form, *number),
                    Cell::Remark(number, remark) => {
                        format!("{} [{}]", Self::written(form, *number), number_of(&mut remarks, remark))
                    }
                    Cell::None => "–".to_owned(),
                };
                add(&mut text, format_args!("| {cell} "));
            }
            text.push_str("|\n");
        }
        for (index, remark) in remarks.iter().enumerate() {
            add(&mut text, format_args!("\n[{}] {}\n", index + 1, plain(remark)));
        }
        text
    }

    /// Returns it for the page.
    pub(super) fn html(&self) -> String {
        let forms = self.forms();
        let mut text = String::from("<figure class='table'>");
        if !self.title.is_empty() {
            add(&mut text, format_args!("<figcaption>{}</figcaption>", escaped(&self.title)));
        }
        text.push_str("<div class='wide'><table><thead><tr>");
        let class = |form: &Form| if form.unit.is_some() { " class='n'" } else { "" };
        for (column, form) in self.columns.iter().zip(&forms) {
            let heading = escaped(&Self::heading(column, form));
            add(&mut text, format_args!("<th scope='col'{}>{heading}</th>", class(form)));
        }
        text.push_str("</tr></thead><tbody>");
        let mut remarks: Vec<&str> = Vec::new();
        for row in &self.rows {
            text.push_str("<tr>");
            for (cell, form) in row.iter().zip(&forms) {
                let cell = match cell {
                    Cell::Text(words) => escaped(words),
                    Cell::Number(number) => Self::written(form, *number),
                    Cell::Remark(number, remark) => {
                        format!("{}<sup>{}</sup>", Self::written(form, *number), number_of(&mut remarks, remark))
                    }
                    Cell::None => "–".to_owned(),
                };
                add(&mut text, format_args!("<td{}>{cell}</td>", class(form)));
            }
            text.push_str("</tr>");
        }
        text.push_str("</tbody></table></div>");
        for (index, remark) in remarks.iter().enumerate() {
            add(&mut text, format_args!("<p class='about'><sup>{}</sup> {}</p>", index + 1, escaped(remark)));
        }
        text.push_str("</figure>");
        text
    }
}

/// Returns the number of a remark; the same words have the same.
fn number_of<'a>(remarks: &mut Vec<&'a str>, remark: &'a str) -> usize {
    let known = remarks.iter().position(|known| *known == remark);
    known.map_or_else(
        || {
            remarks.push(remark);
            remarks.len()
        },
        |index| index + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            title: "Latency <all>".to_owned(),
            columns: vec![
                Column::text("operation"),
                Column::number("rate", Unit::PerSecond),
                Column::number("p99", Unit::Seconds),
                Column::number("requests", Unit::Count),
            ],
            rows: vec![
                vec!["send | post".into(), 52.31.into(), 0.012_3.into(), 31_386.0.into()],
                vec!["check".into(), 7.0.into(), Cell::Remark(0.145_6, "warm-up included".to_owned()), Cell::None],
            ],
        }
    }

    #[test]
    fn the_numbers_of_a_column_are_written_alike() {
        let expected = "\
| operation | rate (/s) | p99 (ms) | requests |
|---|--:|--:|--:|
| send \\| post | 52.3 | 12 | 31\u{202f}386 |
| check | 7.0 | 146 [1] | – |

[1] warm-up included
";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn the_page_shows_the_same_escaped() {
        let html = table().html();

        assert!(html.contains("Latency &lt;all&gt;"));
        assert!(html.contains("<td class='n'>146<sup>1</sup></td>"), "{html}");
        assert!(html.contains("<td>send | post</td>"));
    }
}
