//! Thumbnails of PNG pictures in three stages, each where it belongs: files are read and written by threads that may wait,
//! pictures are made smaller on every core. A bounded number of pictures is in memory, however many files there are.
//!
//! ```text
//! cargo run --release --example pipeline_thumbnails
//! cargo run --release --example pipeline_thumbnails ~/pictures/*.png     # writes NAME.thumbnail.png beside each
//! ```

use image::{DynamicImage, ImageFormat, RgbImage};
use ropewalk::{Pipeline, ThreadPoolExecutor};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The sides of a thumbnail, in pixels, at most.
const SIDE: u32 = 64;
/// Pictures in each stage.
const IN_HAND: usize = 4;

struct Named<T> {
    path: PathBuf,
    content: T,
}

fn read(path: PathBuf) -> io::Result<Named<Vec<u8>>> {
    let content = fs::read(&path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    Ok(Named { path, content })
}

fn resize(file: Named<Vec<u8>>) -> Result<Named<DynamicImage>, String> {
    let picture = image::load_from_memory_with_format(&file.content, ImageFormat::Png);
    let picture = picture.map_err(|error| format!("{}: {error}", file.path.display()))?;
    Ok(Named { path: file.path, content: picture.thumbnail(SIDE, SIDE) })
}

fn write(picture: Named<DynamicImage>) -> Result<(PathBuf, u32, u32), String> {
    let path = picture.path.with_extension("thumbnail.png");
    let saved = picture.content.save_with_format(&path, ImageFormat::Png);
    saved.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((path, picture.content.width(), picture.content.height()))
}

/// Twelve pictures, for those who name none; each broader than the one before.
fn paint(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    fs::create_dir_all(directory)?;
    let paint = |number: u32| {
        let path = directory.join(format!("{number:02}.png"));
        let picture =
            RgbImage::from_fn(200 + 100 * number, 400, |x, y| image::Rgb([(x / 4) as u8, (y / 4) as u8, number as u8]));
        picture.save_with_format(&path, ImageFormat::Png).map(|()| path)
    };
    Ok((0..12).map(paint).collect::<Result<_, _>>()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let named: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let directory = std::env::temp_dir().join(format!("ropewalk-thumbnails-{}", std::process::id()));
    let files = if named.is_empty() { paint(&directory)? } else { named };

    // One for what waits for the disk, as many as it bears; one that sizes itself, to a worker a core for what computes.
    let (disk, cores) = (ThreadPoolExecutor::new(4), ThreadPoolExecutor::builder().build()?);
    let outcome = Pipeline::from(files)
        .try_stage(&disk, IN_HAND, read)
        .try_stage(&cores, IN_HAND, resize)
        .try_stage(&disk, IN_HAND, write)
        .for_each(|(path, width, height)| {
            // In the order of the files, whichever was ready first.
            println!("{} {width} x {height}", path.file_name().unwrap_or_default().to_string_lossy());
        });
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    // The first picture that could not be read, made smaller or written ended all three stages.
    Ok(outcome?)
}
