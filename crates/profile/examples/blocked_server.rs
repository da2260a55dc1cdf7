//! A ground-truth program: a tokio server on one thread whose handler computes, and clients that wait for it in processes of
//! their own. `cargo run --release -p ropewalk-profile --example blocked_server -- SECONDS`

use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What one request costs, in steps.
const STEPS: u64 = 4_000_000;

fn compute() -> u64 {
    let mut x = 88_172_645_463_325_252u64;
    for _ in 0..STEPS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    std::hint::black_box(x)
}

fn client(port: u16) {
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return };
    let mut answer = [0; 2];
    while stream.write_all(b"x").is_ok() && stream.read_exact(&mut answer).is_ok() {}
}

async fn serve(seconds: f64) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port().to_string();
    let mut clients: Vec<Child> = (0..4)
        .map(|_| Command::new("/proc/self/exe").args(["client", &port]).spawn())
        .collect::<std::io::Result<_>>()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while stream.read_u8().await.is_ok() {
                    compute();
                    if stream.write_all(b"ok").await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    for client in &mut clients {
        client.kill()?;
        client.wait()?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, port] = arguments.as_slice() {
        assert_eq!(role, "client", "SECONDS, or `client PORT`");
        client(port.parse()?);
        return Ok(());
    }
    let seconds = arguments.get(1).map_or(Ok(2.0), |s| s.parse::<f64>())?;
    let began = Instant::now();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(seconds))?;
    if let Some(path) = std::env::var_os("TRUTH") {
        std::fs::write(path, format!("{{\"wall\": {}}}\n", began.elapsed().as_secs_f64()))?;
    }
    Ok(())
}
