//! Small aligned tables: the first column to the left, figures to the right.

/// Columns of a terminal that a table keeps to.
const WIDTH: usize = 80;

/// Lines of `rows` under `head`, each ending in a line feed; columns are as wide as their widest cell, and closer together
/// when the table would be wider than a terminal otherwise.
pub fn draw(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(|h| width(h)).collect();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let gap = if widths.iter().sum::<usize>() + 2 * (widths.len().saturating_sub(1)) > WIDTH { " " } else { "  " };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (i, (cell, w)) in cells.zip(&widths).enumerate() {
            let space = " ".repeat(w - width(cell));
            if i == 0 {
                out.push_str(cell);
                out.push_str(&space);
            } else {
                out.push_str(gap);
                out.push_str(&space);
                out.push_str(cell);
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    };
    let mut out = line(&mut head.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn figures_line_up_at_their_right_end() {
        let rows = [["a", "1.0x"], ["longer", "160.0x"]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(draw(&["model", "speedup"], &rows), "model   speedup\na          1.0x\nlonger   160.0x\n");
    }
}
