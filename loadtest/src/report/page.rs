//! The page.

use std::fs;
use std::io;
use std::path::Path;

use super::chart::Chart;
use super::table::Table;
use super::{add, draw, escaped};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Sections from which on a page has a list of them.
const CONTENTS: usize = 4;

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What was measured.
    pub title: String,
    /// What came out, in a sentence or two.
    pub lead: String,
    /// The rest.
    pub sections: Vec<Section>,
}

/// A part of a report.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// What it says, in this order.
    pub blocks: Vec<Block>,
}

/// Something that a section says.
#[derive(Clone, Debug)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// Several short texts, one below the other.
    List(Vec<String>),
    /// What somebody can type or read as it is.
    Code(String),
    /// A verdict or a warning, set apart.
    Notice(Tone, String),
    /// Figures to see first.
    Figures(Vec<Figure>),
    /// A table.
    Table(Table),
    /// A chart.
    Chart(Chart),
}

/// What a notice or a figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Neither.
    Plain,
}

impl Tone {
    /// Returns its class, and the sign that says it without a colour.
    const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::Good => ("good", "✓ "),
            Self::Bad => ("bad", "✗ "),
            Self::Plain => ("plain", ""),
        }
    }
}

/// A figure to see first.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The value with its unit, as [`Unit::written`](super::Unit::written) writes it.
    pub value: String,
    /// What it is.
    pub label: String,
    /// What it is held against, such as "the article: about 50/s". May be empty.
    pub beside: String,
    /// What it means.
    pub tone: Tone,
}

impl Page {
    /// Returns all charts, in their order.
    pub fn charts(&self) -> impl Iterator<Item = &Chart> {
        self.sections.iter().flat_map(|section| &section.blocks).filter_map(|block| match block {
            Block::Chart(chart) => Some(chart),
            _ => None,
        })
    }

    /// Writes the page, and each chart as a picture beside it: `NAME.html`, `NAME.md`, `NAME-CHART.svg`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{name}.html")), self.html())?;
        fs::write(folder.join(format!("{name}.md")), self.markdown(&format!("{name}-")))?;
        for chart in self.charts() {
            fs::write(folder.join(format!("{name}-{}", chart.file_name())), chart.svg())?;
        }
        Ok(())
    }

    /// Returns the page as one HTML file that needs no other.
    #[must_use]
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut text = String::new();
        add(
            &mut text,
            format_args!(
                "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{title}</title>\
             <meta name='viewport' content='width=device-width, initial-scale=1'>\
             <meta name='color-scheme' content='light dark'>\n<style>{}{STYLE}</style></head>\n<body><main>\
             <header><h1>{title}</h1><p class='lead'>{}</p></header>\n",
                draw::STYLE,
                escaped(&self.lead)
            ),
        );
        if self.sections.len() >= CONTENTS {
            text.push_str("<nav><ul>");
            for (index, section) in self.sections.iter().enumerate() {
                add(&mut text, format_args!("<li><a href='#s{index}'>{}</a></li>", escaped(&section.title)));
            }
            text.push_str("</ul></nav>\n");
        }
        for (index, section) in self.sections.iter().enumerate() {
            add(&mut text, format_args!("<section id='s{index}'><h2>{}</h2>\n", escaped(&section.title)));
            for block in &section.blocks {
                text.push_str(&block.html());
                text.push('\n');
            }
            text.push_str("</section>\n");
        }
        add(
            &mut text,
            format_args!(
                "<footer>countersign-loadtest {}</footer></main>\n<script>{SCRIPT}</script></body></html>\n",
                env!("CARGO_PKG_VERSION")
            ),
        );
        text
    }

    /// Returns the page as Markdown. The charts' pictures are named by their file names after `pictures`.
    #[must_use]
    pub fn markdown(&self, pictures: &str) -> String {
        let mut text = format!("# {}\n\n{}\n", self.title, self.lead);
        for section in &self.sections {
            add(&mut text, format_args!("\n## {}\n", section.title));
            for block in &section.blocks {
                text.push('\n');
                text.push_str(&block.markdown(pictures));
            }
        }
        text
    }
}

impl Block {
    fn html(&self) -> String {
        match self {
            Self::Text(words) => format!("<p>{}</p>", escaped(words)),
            Self::List(items) => {
                let mut text = String::from("<ul>");
                for item in items {
                    add(&mut text, format_args!("<li>{}</li>", escaped(item)));
                }
                text + "</ul>"
            }
            Self::Code(words) => format!("<pre><code>{}</code></pre>", escaped(words)),
            Self::Notice(tone, words) => {
                let (class, sign) = tone.shown();
                format!("<p class='notice {class}'>{sign}{}</p>", escaped(words))
            }
            Self::Figures(figures) => {
                let figures: String = figures.iter().map(Figure::html).collect();
                format!("<dl class='figures'>{figures}</dl>")
            }
            Self::Table(table) => table.html(),
            Self::Chart(chart) => {
                let about = if chart.about.is_empty() {
                    String::new()
                } else {
                    format!("<p class='about'>{}</p>", escaped(&chart.about))
                };
                format!(
                    "<figure><figcaption>{}</figcaption><div class='drawing'>{}</div>{about}</figure>",
                    escaped(&chart.title),
                    draw::inline(chart)
                )
            }
        }
    }

    fn markdown(&self, pictures: &str) -> String {
        match self {
            Self::Text(words) => format!("{words}\n"),
            Self::List(items) => {
                let mut text = String::new();
                for item in items {
                    add(&mut text, format_args!("- {item}\n"));
                }
                text
            }
            Self::Code(words) => format!("```\n{words}\n```\n"),
            Self::Notice(tone, words) => format!("**{}{words}**\n", tone.shown().1),
            Self::Figures(figures) => {
                let mut text = String::new();
                for Figure { value, label, beside, .. } in figures {
                    let beside = if beside.is_empty() { String::new() } else { format!(" ({beside})") };
                    add(&mut text, format_args!("- {label}: **{value}**{beside}\n"));
                }
                text
            }
            Self::Table(table) if table.title.is_empty() => table.markdown(),
            Self::Table(table) => format!("{}:\n\n{}", table.title, table.markdown()),
            Self::Chart(chart) => {
                let about = if chart.about.is_empty() { String::new() } else { format!("\n{}\n", chart.about) };
                format!("![{}]({pictures}{})\n{about}", chart.title.replace(['[', ']'], ""), chart.file_name())
            }
        }
    }
}

impl Figure {
    fn html(&self) -> String {
        let (class, sign) = self.tone.shown();
        let beside = if self.beside.is_empty() {
            String::new()
        } else {
            format!("<dd class='beside'>{}</dd>", escaped(&self.beside))
        };
        format!(
            "<div class='{class}'><dt>{}</dt><dd>{sign}{}</dd>{beside}</div>",
            escaped(&self.label),
            escaped(&self.value)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_page_asks_nothing_of_anybody() {
        let html = example::page().html();

        for outside in ["http://", "https://", " src=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn texts_are_only_texts() {
        let evil = "</style></script><script>alert('1')</script>&\"";
        let page = Page {
            title: evil.to_owned(),
            lead: evil.to_owned(),
            sections: vec![Section {
                title: evil.to_owned(),
                blocks: vec![
                    Block::Text(evil.to_owned()),
                    Block::List(vec![evil.to_owned()]),
                    Block::Code(evil.to_owned()),
                    Block::Notice(Tone::Bad, evil.to_owned()),
                    Block::Figures(vec![Figure {
                        value: evil.to_owned(),
                        label: evil.to_owned(),
                        beside: evil.to_owned(),
                        tone: Tone::Good,
                    }]),
                    Block::Table(Table { title: evil.to_owned(), ..Table::default() }),
                    Block::Chart(example::named(evil)),
                ],
            }],
        };

        let html = page.html();

        assert!(!html.contains("alert('1')"));
        assert_eq!(html.matches("<script>").count(), 1);
        assert_eq!(html.matches("</script>").count(), 1);
        assert_eq!(html.matches("</style>").count(), 1);
    }

    #[test]
    fn a_page_is_written_with_its_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let page = example::page();

        page.write(folder.path(), "example").unwrap();

        let markdown = fs::read_to_string(folder.path().join("example.md")).unwrap();
        assert!(page.charts().count() > 5);
        for chart in page.charts() {
            let name = format!("example-{}", chart.file_name());
            let svg = fs::read_to_string(folder.path().join(&name)).unwrap();
            assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>"));
            assert!(markdown.contains(&format!("]({name})")), "{name}");
        }
    }

    /// Writes the example for a person to look at: `REPORT_EXAMPLE=/tmp/example cargo test … report::page::tests`.
    #[test]
    fn the_example_is_small_enough_to_be_sent() {
        let page = example::page();
        if let Some(folder) = std::env::var_os("REPORT_EXAMPLE") {
            page.write(Path::new(&folder), "example").unwrap();
        }

        assert!(page.html().len() < 1_000_000);
    }
}
