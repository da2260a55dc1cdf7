//! What a run prints: JSON lines for scripts, tables for people, and the marked section of a Markdown file.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::harness::{Better, Row};
use crate::limits::{self, Verdict};

/// One JSON object on one line. The last two keys say how well fed the samples were.
pub fn json(row: &Row) -> String {
    format!(
        "{{\"suite\":\"{}\",\"work\":\"{}\",\"system\":\"{}\",\"median\":{},\"min\":{},\"max\":{},\"unit\":\"{}\",\
         \"better\":\"{}\",\"rounds\":{},\"cpu_per_wall\":{:.2},\"again\":{}}}",
        row.suite,
        row.work,
        row.system,
        number(row.median),
        number(row.min),
        number(row.max),
        row.unit,
        row.better.word(),
        row.rounds,
        row.cpu_per_wall,
        row.again
    )
}

/// The rows of one work as a table, ours against each peer, with the limits on it.
pub fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    for group in by_work(rows) {
        let first = &group[0];
        let _ = writeln!(
            out,
            "{} ({}, {} is better, {} rounds)",
            first.work,
            first.unit,
            first.better.word(),
            first.rounds
        );
        let ours = ours_of(group);
        let _ = write!(out, "  {:<18}{:>11}{:>11}{:>11}{:>7}{:>6}", "system", "median", "min", "max", "cores", "again");
        for our in &ours {
            let _ = write!(out, "  {:>12}", format!("{}/it", label(our.system)));
        }
        out.push('\n');
        for row in sorted(group) {
            let _ = write!(
                out,
                "  {:<18}{:>11}{:>11}{:>11}{:>7.2}{:>6}",
                row.system,
                short(row.median),
                short(row.min),
                short(row.max),
                row.cpu_per_wall,
                row.again
            );
            for our in &ours {
                let ratio = if our.system == row.system { "–".to_owned() } else { ratio(our, row) };
                let _ = write!(out, "  {ratio:>12}");
            }
            out.push('\n');
        }
        for verdict in limits::judge(first, rows) {
            let _ = writeln!(out, "  {}", verdict.line());
        }
        out.push('\n');
    }
    out
}

/// Rewrites, in `file`, what stands between the marks of each suite that ran.
pub fn rewrite_markdown(file: &Path, rows: &[Row], conditions: &str) -> io::Result<()> {
    let mut text = std::fs::read_to_string(file)?;
    let mut suites: Vec<&str> = rows.iter().map(|row| row.suite).collect();
    suites.dedup();
    for suite in suites {
        let of_suite: Vec<Row> = rows.iter().filter(|row| row.suite == suite).cloned().collect();
        text = replace_section(&text, suite, &markdown(&of_suite, conditions))
            .ok_or_else(|| io::Error::other(format!("{} has no marks for suite {suite}", file.display())))?;
    }
    std::fs::write(file, text)
}

fn replace_section(text: &str, suite: &str, body: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {suite}: begin -->"), format!("<!-- {suite}: end -->"));
    let from = text.find(&begin)? + begin.len();
    let to = from + text[from..].find(&end)?;
    Some(format!("{}\n{body}{}", &text[..from], &text[to..]))
}

fn markdown(rows: &[Row], conditions: &str) -> String {
    let mut out = format!("{conditions}\n\n");
    out.push_str("| work | unit | system | median | min – max | cores | ours / it |\n");
    out.push_str("| --- | --- | --- | ---: | ---: | ---: | --- |\n");
    let mut verdicts: Vec<(String, Verdict)> = Vec::new();
    for group in by_work(rows) {
        let ours = ours_of(group);
        for (at, row) in sorted(group).into_iter().enumerate() {
            let ratios: Vec<String> = ours
                .iter()
                .filter(|our| our.system != row.system)
                .map(|our| match our.system.split_once(':') {
                    Some((_, variant)) => format!("{} ({variant})", ratio(our, row)),
                    None => ratio(our, row),
                })
                .collect();
            let (work, unit) = if at == 0 { (row.work.as_str(), row.unit) } else { ("", "") };
            let name = if is_ours(row) { format!("**{}**", row.system) } else { row.system.to_owned() };
            let _ = writeln!(
                out,
                "| {work} | {unit} | {name} | {} | {} – {} | {:.2} | {} |",
                short(row.median),
                short(row.min),
                short(row.max),
                row.cpu_per_wall,
                ratios.join(", ")
            );
        }
        verdicts.extend(limits::judge(&group[0], rows).map(|verdict| (group[0].work.clone(), verdict)));
    }
    if !verdicts.is_empty() {
        out.push_str("\n| work | limit |\n| --- | --- |\n");
        for (work, verdict) in verdicts {
            let line = verdict.line();
            let line = if matches!(verdict, Verdict::Missed(_)) { format!("**{line}**") } else { line };
            let _ = writeln!(out, "| {work} | {line} |");
        }
    }
    out
}

fn by_work(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| a.work == b.work && a.suite == b.suite)
}

fn is_ours(row: &Row) -> bool {
    row.system.starts_with("ropewalk")
}

fn ours_of(group: &[Row]) -> Vec<&Row> {
    group.iter().filter(|row| is_ours(row)).collect()
}

/// `channel` of `ropewalk:channel`, else the whole name.
fn label(system: &str) -> &str {
    system.split_once(':').map_or(system, |(_, variant)| variant)
}

/// Best first, so that a lost row is seen at once.
fn sorted(group: &[Row]) -> Vec<&Row> {
    let mut rows: Vec<&Row> = group.iter().collect();
    rows.sort_by(|a, b| {
        let order = a.median.total_cmp(&b.median);
        if a.better == Better::Higher { order.reverse() } else { order }
    });
    rows
}

fn ratio(ours: &Row, peer: &Row) -> String {
    if peer.median > 0.0 { short_ratio(ours.median / peer.median) } else { "–".to_owned() }
}

/// With as many digits as tell a hundredth from nothing.
fn short_ratio(ratio: f64) -> String {
    if ratio < 0.095 { format!("{ratio:.4}") } else { format!("{ratio:.2}") }
}

fn number(value: f64) -> String {
    format!("{value:.4}")
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v < 0.1 && v > 0.0 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_section_changes() {
        let text = "a\n<!-- sync: begin -->\nold\n<!-- sync: end -->\n<!-- pool: begin -->\nkeep\n<!-- pool: end -->\n";
        let new = replace_section(text, "sync", "new\n").unwrap();
        assert_eq!(
            new,
            "a\n<!-- sync: begin -->\nnew\n<!-- sync: end -->\n<!-- pool: begin -->\nkeep\n<!-- pool: end -->\n"
        );
        assert!(replace_section(text, "jobs", "x").is_none());
    }

    #[test]
    fn json_has_the_keys_scripts_rely_on() {
        let row = Row {
            suite: "pool",
            work: "scope.borrow".into(),
            system: "rayon",
            median: 1.5,
            min: 1.0,
            max: 2.0,
            unit: "us",
            better: Better::Lower,
            rounds: 9,
            cpu_per_wall: 1.97,
            again: 0,
        };
        assert_eq!(
            json(&row),
            "{\"suite\":\"pool\",\"work\":\"scope.borrow\",\"system\":\"rayon\",\"median\":1.5000,\"min\":1.0000,\
             \"max\":2.0000,\"unit\":\"us\",\"better\":\"lower\",\"rounds\":9,\"cpu_per_wall\":1.97,\"again\":0}"
        );
    }
}
