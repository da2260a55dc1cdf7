//! Counts the words of many files: map (a file to its counts, on every core) and reduce (all counts to one), with a bar that
//! shows how far it is.
//!
//! ```text
//! cargo run --release --example word_count
//! cargo run --release --example word_count README.md guide/src/*.md
//! ```

use indicatif::{ProgressBar, ProgressStyle};
use ropewalk::ThreadPoolExecutor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

type Counts = HashMap<String, u64>;

/// The map: what is counted is one file's own, so nothing is shared and nothing is locked.
fn count(file: PathBuf) -> io::Result<Counts> {
    let mut counts = Counts::new();
    let text = fs::read_to_string(&file).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    Ok(counts)
}

/// The reduce: one file's counts are added to those of the files before it.
fn add(mut all: Counts, counts: Counts) -> Counts {
    for (word, count) in counts {
        *all.entry(word).or_default() += count;
    }
    all
}

/// Sixty files, for those who name none. File number n has n lines.
fn write_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let write = |number: usize| {
        let file = directory.join(format!("{number}.txt"));
        let lines = "The strands are laid into a rope, and the rope is coiled.\n".repeat(number);
        fs::write(&file, lines).map(|()| file)
    };
    (1..=60).map(write).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let named: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let directory = std::env::temp_dir().join(format!("ropewalk-word-count-{}", std::process::id()));
    let files = if named.is_empty() { write_files(&directory)? } else { named };

    // Drawn on a terminal; nothing in a pipe.
    let bar = ProgressBar::new(files.len() as u64).with_style(ProgressStyle::with_template("{bar:40} {pos} of {len}")?);
    let shown = bar.clone();
    let pool = ThreadPoolExecutor::builder()
        .on_progress(move |progress| shown.set_position(progress.finished as u64))
        .build()?;

    // The files are read as the loop goes on, a few ahead of it. The first that cannot be read ends it.
    let number = files.len();
    let all =
        pool.map(count, files).chunk(1).try_fold(Counts::new(), |all, counts| counts.map(|counts| add(all, counts)));
    bar.finish_and_clear();
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }

    let mut all: Vec<_> = all?.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    println!("{number} files, {} words, {} different ones", all.iter().map(|(_, count)| count).sum::<u64>(), all.len());
    for (word, count) in all.iter().take(5) {
        println!("{count:6} {word}");
    }
    Ok(())
}
