//! Pictures, tables and sentences as one self-contained HTML page: no script, no font, nothing from the network, so that
//! it opens from a mail.

use std::fmt::Write as _;

use super::escape;

/// The whole page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The heading, and the title of the window.
    pub title: String,
    /// One sentence below it.
    pub lead: String,
    /// In order.
    pub sections: Vec<Section>,
    /// Small print at the end: where and with what this was made.
    pub footer: String,
}

/// A part of a [`Page`] under a heading of its own. Every part but the heading may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// What it is about.
    pub heading: String,
    /// The sentence to remember.
    pub verdict: String,
    /// A picture as [`svg::draw`](super::svg::draw) returns it, or several: placed as it is, so it must be well-formed.
    pub svg: String,
    /// Figures.
    pub table: Table,
    /// Sentences below, each with a mark in front of it.
    pub claims: Vec<Claim>,
}

/// Figures under column heads. The first column is text, the others are aligned to the right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// One per column.
    pub head: Vec<String>,
    /// As many cells each as `head` has.
    pub rows: Vec<Vec<String>>,
}

/// A sentence with a mark: what was found about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// A word or two, drawn as a label.
    pub mark: String,
    /// The sentence.
    pub text: String,
}

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#f5f7f9;--card:#fff;--ink:#1b2430;--muted:#566272;--line:#e1e6ec;--mark:#e7eef6}
@media (prefers-color-scheme:dark){:root{--bg:#080d12;--card:#0e151d;--ink:#e8eef5;--muted:#9aa8b8;--line:#22303d;--mark:#1b2a39}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
main{max-width:1024px;margin:0 auto;padding:32px 16px 48px}
h1{font-size:28px;line-height:1.2;margin:0 0 8px}
h2{font-size:20px;margin:0 0 4px}
.lead{color:var(--muted);margin:0 0 24px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 24px;margin:0 0 24px}
.verdict{margin:0 0 12px;font-weight:600}
svg{display:block;width:100%;height:auto}
.scroll{overflow-x:auto}
.wide svg{min-width:720px}
pre{font-size:14px;line-height:1.45}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums;margin-top:12px}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th{color:var(--muted);font-weight:600}
ul{list-style:none;margin:12px 0 0;padding:0}
li{display:flex;gap:12px;align-items:baseline;padding:6px 0}
.mark{flex:none;min-width:9.5em;text-align:center;background:var(--mark);border-radius:6px;font-size:13px;padding:1px 8px}
footer{color:var(--muted);font-size:13px}
@media print{body{background:#fff}section{break-inside:avoid}}
";

/// Writes `page` as an HTML document.
pub fn draw(page: &Page) -> String {
    let mut out = String::new();
    let title = escape(&page.title);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    paragraph(&mut out, "lead", &page.lead);
    for section in &page.sections {
        let _ = writeln!(out, "<section>\n<h2>{}</h2>", escape(&section.heading));
        paragraph(&mut out, "verdict", &section.verdict);
        out.push_str(&section.svg);
        table(&mut out, &section.table);
        if !section.claims.is_empty() {
            out.push_str("<ul>\n");
            for claim in &section.claims {
                let _ = writeln!(
                    out,
                    "<li><span class=\"mark\">{}</span><span>{}</span></li>",
                    escape(&claim.mark),
                    escape(&claim.text)
                );
            }
            out.push_str("</ul>\n");
        }
        out.push_str("</section>\n");
    }
    let _ = write!(out, "<footer>{}</footer>\n</main>\n</body>\n</html>\n", escape(&page.footer));
    out
}

fn paragraph(out: &mut String, class: &str, text: &str) {
    if !text.is_empty() {
        let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escape(text));
    }
}

fn table(out: &mut String, table: &Table) {
    if table.head.is_empty() {
        return;
    }
    out.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for cell in &table.head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(cell));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}
