//! An S3 server that verifies signatures: s3s-fs on a thread, with two buckets of two owners. It ignores If-None-Match,
//! which is handled here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpResponse, S3Result, s3_error};
use s3s_fs::FileSystem;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::directory::Directory;
use super::eventually;
use super::unused_port::UnusedPort;

/// A bucket and the only account that may read it.
pub struct Bucket {
    pub name: &'static str,
    pub access: &'static str,
    pub secret: &'static str,
}

pub const IMAGES: Bucket =
    Bucket { name: "images", access: "AKIMAGES", secret: "secret/of+images" };
pub const ARCHIVE: Bucket =
    Bucket { name: "archive", access: "AKARCHIVE", secret: "secret/of+archive" };

pub struct S3 {
    address: SocketAddr,
    directory: Directory,
    service: S3Service,
    seen: Arc<Seen>,
    running: Option<Running>,
    reserved: Option<UnusedPort>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    requests: Mutex<Vec<Answered>>,
    /// How many seconds the clock in its responses is ahead.
    clock: AtomicI64,
}

/// A request that was answered.
struct Answered {
    method: String,
    /// Decoded.
    path: String,
    status: u16,
}

impl S3 {
    pub fn start() -> S3 {
        let directory = Directory::new();
        let mut auth = SimpleAuth::new();
        for bucket in [IMAGES, ARCHIVE] {
            std::fs::create_dir(directory.path().join(bucket.name)).unwrap();
            auth.register(bucket.access.to_owned(), bucket.secret.into());
        }
        let mut builder = S3ServiceBuilder::new(FileSystem::new(directory.path()).unwrap());
        builder.set_auth(auth);
        builder.set_access(Owners);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut s3 = S3 {
            address,
            directory,
            service: builder.build(),
            seen: Arc::default(),
            running: None,
            reserved: None,
        };
        s3.serve(listener);
        s3
    }

    fn serve(&mut self, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        let service = self.service.clone();
        let seen = self.seen.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::spawn(accept(listener, service, seen));
                let _ = stopped.await;
            });
            // Closes the connections as well.
            runtime.shutdown_background();
        });
        self.running = Some(Running { stop, thread });
    }

    /// Closes every connection and refuses new ones.
    pub fn stop(&mut self) {
        if self.end() {
            self.reserved = Some(UnusedPort::at(self.address));
        }
    }

    /// Stops the thread; false if there is none.
    fn end(&mut self) -> bool {
        let Some(Running { stop, thread }) = self.running.take() else { return false };
        let _ = stop.send(());
        thread.join().unwrap();
        true
    }

    /// Serves again on the same port.
    pub fn restart(&mut self) {
        self.end();
        self.reserved = None;
        let mut listener = None;
        eventually("the port can be taken over", || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        self.serve(listener.unwrap());
    }

    /// Stores an object.
    pub fn put(&self, bucket: &Bucket, key: &str, bytes: &[u8]) {
        self.directory.put(&format!("{}/{key}", bucket.name), bytes);
    }

    /// Where an object is stored.
    pub fn file(&self, bucket: &Bucket, key: &str) -> std::path::PathBuf {
        self.directory.path().join(Path::new(bucket.name)).join(key)
    }

    /// The `aws` object for a bucket here.
    pub fn aws(&self, bucket: &Bucket) -> Value {
        json!({
            "bucket_name": bucket.name,
            "endpoint": format!("http://{}", self.address),
            "aws_access": bucket.access,
            "aws_secret": bucket.secret,
        })
    }

    /// A handler named `h` on the first bucket.
    pub fn handler(&self) -> Value {
        json!({"name": "h", "aws": self.aws(&IMAGES)})
    }

    /// Sets the clock in its responses, in seconds ahead of the real one.
    pub fn set_clock(&self, seconds: i64) {
        self.seen.clock.store(seconds, Ordering::SeqCst);
    }

    /// The number of connections that it has accepted.
    pub fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// The status of each request for this object, in order.
    pub fn statuses(&self, bucket: &Bucket, key: &str) -> Vec<u16> {
        let path = format!("/{}/{key}", bucket.name);
        let requests = self.seen.requests.lock().unwrap();
        requests.iter().filter(|asked| asked.path == path).map(|asked| asked.status).collect()
    }

    /// The key and the status of each request with this method in a bucket, in order.
    pub fn answered(&self, bucket: &Bucket, method: &str) -> Vec<(String, u16)> {
        let bucket = format!("/{}/", bucket.name);
        let requests = self.seen.requests.lock().unwrap();
        let asked = requests.iter().filter(|asked| asked.method == method);
        asked
            .filter_map(|asked| Some((asked.path.strip_prefix(&bucket)?.to_owned(), asked.status)))
            .collect()
    }

    /// Removes an object.
    pub fn remove(&self, bucket: &Bucket, key: &str) {
        std::fs::remove_file(self.file(bucket, key)).unwrap();
    }

    /// The number of 200 and of 304 responses for this object.
    pub fn gets(&self, bucket: &Bucket, key: &str) -> (usize, usize) {
        let statuses = self.statuses(bucket, key);
        let count = |status| statuses.iter().filter(|known| **known == status).count();
        (count(200), count(304))
    }

    /// The number of requests for each path.
    pub fn requests(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for asked in self.seen.requests.lock().unwrap().iter() {
            *counts.entry(asked.path.clone()).or_default() += 1;
        }
        counts
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lets each account read only its own bucket.
struct Owners;

#[async_trait::async_trait]
impl S3Access for Owners {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let account = context.credentials().map(|credentials| credentials.access_key.as_str());
        let bucket = context.s3_path().get_bucket_name();
        let owned = |owner: Bucket| Some(owner.name) == bucket && Some(owner.access) == account;
        if owned(IMAGES) || owned(ARCHIVE) { Ok(()) } else { Err(s3_error!(AccessDenied)) }
    }
}

async fn accept(listener: tokio::net::TcpListener, service: S3Service, seen: Arc<Seen>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        seen.accepted.fetch_add(1, Ordering::SeqCst);
        let service = service.clone();
        let seen = seen.clone();
        let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let path = percent_encoding::percent_decode_str(request.uri().path())
                .decode_utf8_lossy()
                .into_owned();
            let method = request.method().to_string();
            let condition = request.headers().get(header::IF_NONE_MATCH).cloned();
            let answer = Service::call(&service, request);
            let seen = seen.clone();
            async move {
                let mut answer = not_modified(condition, answer.await.unwrap());
                let ahead = seen.clock.load(Ordering::SeqCst);
                if ahead != 0 {
                    answer.headers_mut().insert(header::DATE, date(ahead));
                }
                let status = answer.status().as_u16();
                seen.requests.lock().unwrap().push(Answered { method, path, status });
                Ok::<_, Infallible>(answer)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
    }
}

/// The date of a clock that is this many seconds ahead.
fn date(ahead: i64) -> header::HeaderValue {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(now.as_secs().saturating_add_signed(ahead));
    httpdate::fmt_http_date(time).parse().unwrap()
}

/// Answers 304 if the client has the object (RFC 9110 §13.1.2). The condition has one entity tag at most, and access was
/// checked before.
fn not_modified(condition: Option<header::HeaderValue>, answer: HttpResponse) -> HttpResponse {
    let etag = answer.headers().get(header::ETAG);
    if answer.status() != 200 || condition.is_none() || condition.as_ref() != etag {
        return answer;
    }
    let (mut head, _) = answer.into_parts();
    head.status = hyper::StatusCode::NOT_MODIFIED;
    head.headers.remove(header::CONTENT_LENGTH);
    HttpResponse::from_parts(head, s3s::Body::empty())
}
