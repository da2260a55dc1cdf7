//! Ground-truth programs in Rust: computing in parts, one after another or on threads.
//! `rust_programs cpu PARTS MILLIONS THREADS`

use std::sync::atomic::{AtomicUsize, Ordering};

fn compute(millions: f64) -> u64 {
    let mut x = 88_172_645_463_325_252u64;
    for _ in 0..(millions * 1e6) as u64 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    std::hint::black_box(x)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, parts, millions, threads] = arguments.as_slice() else {
        return Err("rust_programs cpu PARTS MILLIONS THREADS".into());
    };
    assert_eq!(name, "cpu", "the only one there is");
    let (parts, millions, threads): (usize, f64, usize) = (parts.parse()?, millions.parse()?, threads.parse()?);
    let next = AtomicUsize::new(0);
    // Relaxed: each part is taken once, and nothing else is shared.
    let work = || {
        while next.fetch_add(1, Ordering::Relaxed) < parts {
            compute(millions);
        }
    };
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|s| (0..threads).for_each(|_| drop(s.spawn(work))));
    }
    Ok(())
}
