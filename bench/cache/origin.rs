//! An origin that is as slow as a bucket and counts its requests. It exits at the end of standard input.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::Fallible;

pub fn run(address: &str, file: &str, milliseconds: &str) -> Fallible<String> {
    let listener = TcpListener::bind(address)?;
    let body: Arc<[u8]> = std::fs::read(file)?.into();
    let pause = Duration::from_millis(milliseconds.parse()?);
    let count = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (body, count) = (Arc::clone(&body), Arc::clone(&count));
            thread::spawn(move || drop(serve(&stream, &body, pause, &count)));
        }
    });
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok("over".into())
}

fn serve(
    mut stream: &TcpStream,
    body: &[u8],
    pause: Duration,
    count: &AtomicU64,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(first) = lines.next().transpose()? {
        for line in lines.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        if first.starts_with("GET /count ") {
            let text = count.load(Ordering::SeqCst).to_string();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
            continue;
        }
        count.fetch_add(1, Ordering::SeqCst);
        thread::sleep(pause);
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {length}\r\n\r\n")?;
        stream.write_all(body)?;
    }
    Ok(())
}
