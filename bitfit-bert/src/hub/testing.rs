//! A hub on this machine for tests: it has the files of one model, and each test can change its responses.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::settings::{Network, TokenSource};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The settings of downloads from this address, without a token or a proxy.
pub fn network(endpoint: &str) -> Network {
    Network {
        endpoint: endpoint.into(),
        token: TokenSource::File(None),
        allow_http: false,
        proxy: None,
        stall: Duration::from_secs(20),
        pause: Duration::ZERO,
        symlinks: true,
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    /// The first byte of the range.
    pub start: Option<usize>,
}

impl Received {
    /// The file whose content or metadata is requested.
    pub fn file(&self) -> Option<&str> {
        self.path.strip_prefix("/a/b/resolve/main/")
    }

    pub fn is_content(&self, file: &str) -> bool {
        self.method == "GET" && self.file() == Some(file)
    }
}

/// One answer. The header Content-Length is added unless it is there.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The number of bytes of the body after which the connection is closed.
    pub cut: Option<usize>,
    /// Whether the connection stays open and silent after the body, or the part before the cut, has been sent.
    pub stalls: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, stalls: false }
    }

    pub fn redirect(location: impl Into<String>) -> Self {
        Self::new(302, "").with("Location", location)
    }

    /// Replaces or adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    /// A file's content from the requested byte on.
    pub fn content(body: &[u8], request: &Received) -> Self {
        match request.start {
            Some(start) if start >= body.len() => Self::new(416, ""),
            Some(start) => Self::new(206, &body[start..])
                .with("Content-Range", format!("bytes {start}-{}/{}", body.len() - 1, body.len())),
            None => Self::new(200, body),
        }
    }
}

/// The responses of a hub that has `files` of the model a/b. The ETag of a file is its name, with hyphens for slashes.
pub fn hub(files: &[(&str, &str)]) -> impl Fn(&Received) -> Answer + Clone + Send + Sync + 'static {
    let files: Vec<(String, String)> = files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    move |request| {
        if request.path == "/api/models/a/b/revision/main" {
            let siblings: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
            return Answer::new(200, serde_json::json!({"siblings": siblings, "sha": COMMIT}).to_string());
        }
        match files.iter().find(|(name, _)| Some(name.as_str()) == request.file()) {
            Some((name, text)) => Answer::content(text.as_bytes(), request)
                .with("ETag", format!("\"{}\"", name.replace('/', "-")))
                .with("X-Repo-Commit", COMMIT),
            None => Answer::new(404, ""),
        }
    }
}

/// A server that runs for the duration of the test.
pub struct Server {
    pub address: String,
    log: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, server) = (Arc::new(answer), Self { address, log: Arc::clone(&log) });
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let lines: Vec<String> =
                        BufReader::new(&stream).lines().map_while(|line| line.ok().filter(|l| !l.is_empty())).collect();
                    let [method, path] = [0, 1].map(|i| lines[0].split(' ').nth(i).unwrap().to_owned());
                    let header = |name: &str| {
                        lines.iter().find_map(|line| {
                            let (other, value) = line.split_once(": ")?;
                            other.eq_ignore_ascii_case(name).then(|| value.to_owned())
                        })
                    };
                    let start = header("range")
                        .map(|range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap());
                    let request = Received { method, path, authorization: header("authorization"), start };
                    log.lock().unwrap().push(request.clone());
                    let answer = answer(&request);
                    let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", answer.status);
                    for (name, value) in &answer.headers {
                        head += &format!("{name}: {value}\r\n");
                    }
                    if answer.headers.iter().all(|(name, _)| *name != "Content-Length") {
                        head += &format!("Content-Length: {}\r\n", answer.body.len());
                    }
                    let body = if request.method == "HEAD" { &[][..] } else { &answer.body };
                    let body = &body[..answer.cut.unwrap_or(body.len()).min(body.len())];
                    // The client may have closed the connection.
                    _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
                    if answer.stalls && request.method != "HEAD" {
                        loop {
                            thread::park();
                        }
                    }
                });
            }
        });
        server
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.log.lock().unwrap().clone()
    }

    /// The number of requests for the content of this file.
    pub fn fetched(&self, file: &str) -> usize {
        self.requests().iter().filter(|request| request.is_content(file)).count()
    }
}
