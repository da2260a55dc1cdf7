//! The tables of the guide: a line of code in a cell also stands in a block of the same page, and the blocks are run
//! (`ci/guide.sh`). A cell by itself is compiled by nobody, and would go wrong in silence.

use std::fs;
use std::path::Path;

/// The cells of a row of a table; `\|` is a bar inside a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{1}");
    row.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

/// The lines of code in tables under a head that ends in `a line of code`, and those that stand in no block.
fn lines_of_code(page: &str) -> (usize, Vec<String>) {
    let (mut blocks, mut wanted) = (String::new(), Vec::new());
    let (mut in_block, mut in_rust, mut in_table) = (false, false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
            in_rust = in_block && line == "```rust";
        } else if in_block {
            if in_rust {
                blocks.push_str(line.trim());
                blocks.push('\n');
            }
        } else if line.starts_with('|') {
            let cells = cells(line);
            let last = cells.last().map_or("", String::as_str);
            if last == "a line of code" {
                in_table = true;
            } else if in_table && !last.is_empty() && !last.starts_with("---") {
                wanted.push(last.trim_matches('`').to_owned());
            }
        } else {
            in_table = false;
        }
    }
    let count = wanted.len();
    (count, wanted.into_iter().filter(|code| !blocks.lines().any(|line| line == code)).collect())
}

/// The dictionaries, each with fewer lines of code than its tables have.
const PAGES: [(&str, usize); 3] =
    [("coming-from-python.md", 50), ("coming-from-gevent.md", 70), ("coming-from-asyncio.md", 30)];

#[test]
fn every_line_in_a_table_is_run() {
    for (name, least) in PAGES {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guide/src").join(name);
        let page = fs::read_to_string(page).expect("the page can be read");
        let (count, missing) = lines_of_code(&page);
        assert!(count > least, "{name}: only {count} lines of code were found: the tables look different now");
        assert!(missing.is_empty(), "{name}: in a table and in no block: {missing:#?}");
    }
}

#[test]
fn every_line_in_a_table_is_run_control() {
    let table = "| Python | here | a line of code |\n| --- | --- | --- |\n| `x` | `y` | `f(\\|a\\| b);` |\n\n";
    let found = |block: &str| lines_of_code(&format!("{table}```{block}\n```\n"));
    assert_eq!(found("rust\n    f(|a| b);"), (1, vec![]));
    assert_eq!(found("rust\nf(|a| c);"), (1, vec!["f(|a| b);".to_owned()]));
    assert_eq!(found("python\nf(|a| b);").1.len(), 1);
    let without_code = "| x | here | a line of code |\n| --- | --- | --- |\n| `x` | nothing | |\n";
    assert_eq!(lines_of_code(without_code), (0, vec![]));
}
