//! Requests to a hub: the permitted addresses, the use of the token, and redirects.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::settings::{Network, TokenSource};
use super::{address, names};

/// The maximum number of redirects of a request.
const REDIRECTS: usize = 10;
/// The timeout of connecting, and of receiving the headers of a response.
const CONNECT: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(60);
/// The maximum size of a listing in bytes, and its timeout. The listing of a thousand files has 100 kB.
const LISTING: u64 = 16 << 20;
const LISTING_TIME: Duration = Duration::from_secs(120);
/// The number of bytes that are read from a token file.
const TOKEN: u64 = 64 << 10;

/// The reason for which a download ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The main branch changed to another commit during the download.
    #[error("the hub's main branch changed during the download")]
    Moved,
    /// A connection broke: another attempt may get further.
    #[error("{0}")]
    Broken(String),
    /// Another attempt would end in the same way.
    #[error("{0}")]
    Final(String),
}

/// The files that a hub has of a model.
#[derive(Deserialize)]
pub(super) struct Listing {
    /// The commit of the main branch.
    pub sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn has(&self, file: &str) -> bool {
        self.siblings.iter().any(|sibling| sibling.rfilename == file)
    }
}

/// A hub's metadata of a file.
#[derive(Debug)]
pub(super) struct Metadata {
    pub commit: String,
    /// The name of its blob in the cache.
    pub blob: String,
    /// The size in bytes, if the hub reports it.
    pub size: Option<u64>,
}

/// A request to a hub, before redirects.
struct Query<'a> {
    method: Method,
    /// The path after the endpoint, with its leading slash.
    path: &'a str,
    /// The first byte of the range.
    start: Option<u64>,
    /// The timeout of the whole body.
    time: Option<Duration>,
}

impl<'a> Query<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, start: None, time: None }
    }
}

/// Connections to one hub.
pub(super) struct Client<'a> {
    network: &'a Network,
    agent: Agent,
    /// The origin of the hub, the only one to which the token is sent.
    origin: String,
    token: Option<String>,
}

impl<'a> Client<'a> {
    pub(super) fn new(network: &'a Network) -> Result<Self, Failure> {
        let endpoint = address::parse(&network.endpoint)
            .ok_or_else(|| Failure::Final("HF_ENDPOINT is not an http:// or https:// address".into()))?;
        let config = Agent::config_builder()
            .proxy(network.proxy.clone())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("bitfit/", env!("CARGO_PKG_VERSION")))
            // The size of a file is that of its uncompressed bytes.
            .accept_encoding("identity")
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(HEAD))
            .timeout_per_read(Some(network.stall))
            .timeout_per_write(Some(network.stall))
            .build();
        let origin = address::origin(&endpoint);
        Ok(Self { network, agent: config.into(), origin, token: read_token(&network.token)? })
    }

    /// The files of a model's main branch, and its commit.
    pub(super) fn listing(&self, model: &str) -> Result<Listing, Failure> {
        let path = format!("/api/models/{model}/revision/main");
        let (uri, mut response) = self.follow(&Query { time: Some(LISTING_TIME), ..Query::new(Method::GET, &path) })?;
        self.check_status(&uri, response.status(), "such a model")?;
        let json = response.body_mut().with_config().limit(LISTING).read_to_vec().map_err(|e| self.broken(&uri, e))?;
        // The parser's message could quote what the server sent.
        let listing: Listing = serde_json::from_slice(&json).map_err(|_| {
            Failure::Final(format!("{} sent a list of files that cannot be read", address::origin(&uri)))
        })?;
        if !names::is_commit(&listing.sha) {
            return Err(Failure::Final(format!("{} sent a commit that is not a hash", address::origin(&uri))));
        }
        Ok(listing)
    }

    /// The hub's metadata of a file of a model's main branch.
    pub(super) fn metadata(&self, model: &str, file: &str) -> Result<Metadata, Failure> {
        let (uri, response) = self.follow(&Query::new(Method::HEAD, &format!("/{model}/resolve/main/{file}")))?;
        let is_redirect = is_redirect(response.status());
        if !is_redirect {
            self.check_status(&uri, response.status(), file)?;
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let refuse = |what: &str| Failure::Final(format!("{} sent {what} for {file}", address::origin(&uri)));
        let commit = header("x-repo-commit").ok_or_else(|| refuse("no X-Repo-Commit"))?;
        if !names::is_commit(commit) {
            return Err(refuse("an X-Repo-Commit that is not a hash"));
        }
        let etag = header("x-linked-etag").or_else(|| header("etag")).ok_or_else(|| refuse("no ETag"))?;
        let blob = names::blob(etag).ok_or_else(|| refuse("an ETag that is not a file name"))?;
        let size = header("x-linked-size").or_else(|| header("content-length").filter(|_| !is_redirect));
        let size = size.map(|size| size.parse().map_err(|_| refuse("a size that is not a number"))).transpose()?;
        Ok(Metadata { commit: commit.into(), blob: blob.into(), size })
    }

    /// Requests the content of a file from byte `start` on. The server may ignore the range, or answer 416 if the range
    /// is empty.
    pub(super) fn content(&self, model: &str, file: &str, start: u64) -> Result<(Uri, Response<Body>), Failure> {
        let path = format!("/{model}/resolve/main/{file}");
        let (uri, response) =
            self.follow(&Query { start: (start > 0).then_some(start), ..Query::new(Method::GET, &path) })?;
        if response.status() != StatusCode::RANGE_NOT_SATISFIABLE || start == 0 {
            self.check_status(&uri, response.status(), file)?;
        }
        Ok((uri, response))
    }

    /// An error of the connection to `uri`, on one line.
    pub(super) fn broken(&self, uri: &Uri, error: impl std::fmt::Display) -> Failure {
        let error: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Failure::Broken(format!("{}: {}", address::origin(uri), error.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    /// Sends a request to the hub and follows its redirects. If the headers of a redirect of HEAD to another origin
    /// describe the file, the redirect itself is returned, because the headers of the storage that it leads to do not
    /// describe it.
    fn follow(&self, query: &Query<'_>) -> Result<(Uri, Response<Body>), Failure> {
        let mut uri = address::parse(&format!("{}{}", self.network.endpoint, query.path))
            .ok_or_else(|| Failure::Final("HF_ENDPOINT is not an http:// or https:// address".into()))?;
        let mut is_own = true;
        self.check_address(&uri)?;
        for _ in 0..=REDIRECTS {
            let response = self.send(query, &uri, is_own)?;
            if !is_redirect(response.status()) {
                return Ok((uri, response));
            }
            let origin = address::origin(&uri);
            let location = response.headers().get("location").and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| address::join(&uri, location));
            let next =
                next.ok_or_else(|| Failure::Final(format!("{origin} redirects to something that is not an address")))?;
            let leaves = address::origin(&next) != origin;
            if leaves && query.method == Method::HEAD && describes_file(response.headers()) {
                return Ok((uri, response));
            }
            self.check_redirect(&uri, &next)?;
            // A redirect back to the hub, which another host chose, does not get the token either.
            is_own &= !leaves;
            uri = next;
        }
        Err(Failure::Final(format!("{} redirects more than {REDIRECTS} times", self.origin)))
    }

    /// Sends a request to `uri`, with the token if it is an address of the hub and the connection is private.
    fn send(&self, query: &Query<'_>, uri: &Uri, is_own: bool) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(query.method.clone()).uri(uri.clone());
        if let Some(start) = query.start {
            request = request.header("range", format!("bytes={start}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| is_own && self.is_private(uri)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(()).map_err(|error| self.broken(uri, error))?;
        let request = self.agent.configure_request(request).timeout_recv_body(query.time).build();
        self.agent.run(request).map_err(|error| self.broken(uri, error))
    }

    /// Whether a token may be sent to `uri`. A token that a local proxy forwards in plain http could be intercepted.
    fn is_private(&self, uri: &Uri) -> bool {
        address::is_https(uri) || self.network.allow_http || uri.host().is_some_and(address::is_loopback)
    }

    /// Refuses plain http that leaves this machine, because an intermediary could read the token and change the model.
    fn check_address(&self, uri: &Uri) -> Result<(), Failure> {
        if address::is_https(uri) || self.network.allow_http {
            return Ok(());
        }
        // The connection of a proxy on this machine is the proxy's responsibility.
        let proxy = self.network.proxy.as_ref().filter(|proxy| !proxy.is_no_proxy(uri));
        if proxy.map_or(uri.host(), |proxy| Some(proxy.host())).is_some_and(address::is_loopback) {
            return Ok(());
        }
        let origin = address::origin(uri);
        let through = proxy.map(|proxy| format!(" through the proxy {}", proxy.host())).unwrap_or_default();
        Err(Failure::Final(format!(
            "{origin}{through} is not encrypted, so the model could be changed in transit: use https, or set \
             BITFIT_ALLOW_HTTP=1"
        )))
    }

    /// Refuses addresses as [`Self::check_address`] does, and redirects from https to plain http, even on this machine.
    fn check_redirect(&self, from: &Uri, to: &Uri) -> Result<(), Failure> {
        if address::is_https(from) && !address::is_https(to) && !self.network.allow_http {
            let (from, to) = (address::origin(from), address::origin(to));
            return Err(Failure::Final(format!(
                "{from} redirects to {to}, which is not encrypted; BITFIT_ALLOW_HTTP=1 would permit it"
            )));
        }
        self.check_address(to)
    }

    /// Turns a status other than success into a failure.
    fn check_status(&self, uri: &Uri, status: StatusCode, what: &str) -> Result<(), Failure> {
        if status.is_success() {
            return Ok(());
        }
        let origin = address::origin(uri);
        Err(Failure::Final(match status.as_u16() {
            // The hub answers 401 also for a model that does not exist.
            code @ (401 | 403) if origin == self.origin => {
                format!("{origin} answered {code}: private, gated or misspelt; {}", self.token_advice(uri))
            }
            404 => format!("{origin} has no {what} (404)"),
            429 => format!("{origin} answered 429, too many requests: try again later"),
            code => format!("{origin} answered {code} for {what}"),
        }))
    }

    fn token_advice(&self, uri: &Uri) -> String {
        let elsewhere = "set HF_TOKEN to a token that has access, or log in with `hf auth login`";
        match &self.network.token {
            _ if self.token.is_some() && !self.is_private(uri) => {
                "no token was sent, because the address is not encrypted: use https, or set BITFIT_ALLOW_HTTP=1".into()
            }
            TokenSource::Disabled => "no token was sent, because HF_HUB_DISABLE_IMPLICIT_TOKEN is set".into(),
            TokenSource::Variable(name, _) => format!("the token in {name} was not accepted: {elsewhere}"),
            TokenSource::File(Some(path)) if self.token.is_some() => {
                format!("the token in {} was not accepted: {elsewhere}", path.display())
            }
            TokenSource::File(_) => format!("no token was found: {elsewhere}"),
        }
    }
}

/// Reads the token; `None` if the file does not exist.
fn read_token(source: &TokenSource) -> Result<Option<String>, Failure> {
    let (text, place) = match source {
        TokenSource::Variable(name, token) => (token.clone(), (*name).to_owned()),
        TokenSource::File(Some(path)) => {
            let mut text = String::new();
            match File::open(path).and_then(|file| file.take(TOKEN).read_to_string(&mut text)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                read => read.map_err(|error| Failure::Final(format!("the token file {}: {error}", path.display())))?,
            };
            (text, path.display().to_string())
        }
        TokenSource::File(None) | TokenSource::Disabled => return Ok(None),
    };
    let token: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let token = token.trim();
    if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Failure::Final(format!("{place} has a character that is in no token, such as a space")));
    }
    Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether the headers of a redirect describe the version of the file.
fn describes_file(headers: &HeaderMap) -> bool {
    headers.contains_key("x-repo-commit") && (headers.contains_key("x-linked-etag") || headers.contains_key("etag"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::network;

    fn refusal(network: &Network, from: Option<&str>, to: &str) -> Option<String> {
        let client = Client::new(network).unwrap();
        let to = address::parse(to).unwrap();
        let checked = match from {
            Some(from) => client.check_redirect(&address::parse(from).unwrap(), &to),
            None => client.check_address(&to),
        };
        checked.err().map(|failure| failure.to_string())
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        let mut network = network("https://hub.example");
        for own in ["http://127.0.0.1:80/x", "http://localhost/", "http://[::1]:8/", "https://hub.example"] {
            assert_eq!(refusal(&network, None, own), None, "{own}");
        }
        for other in ["http://hub.example/", "http://10.0.0.1/", "http://localhost.example/", "http://u@hub.example"] {
            let message = refusal(&network, None, other).unwrap();
            assert!(message.contains("BITFIT_ALLOW_HTTP=1") && !message.contains("u@"), "{message}");
        }
        for (from, to) in [("https://hub.example", "http://127.0.0.1/"), ("https://hub.example", "http://hub.example/")]
        {
            assert!(refusal(&network, Some(from), to).unwrap().contains("BITFIT_ALLOW_HTTP=1"));
        }
        assert_eq!(refusal(&network, Some("http://127.0.0.1/"), "http://localhost:1/"), None);
        assert!(refusal(&network, Some("http://127.0.0.1/"), "http://hub.example/").is_some());
        network.allow_http = true;
        assert_eq!(refusal(&network, None, "http://hub.example/"), None);
        assert_eq!(refusal(&network, Some("https://hub.example"), "http://hub.example/"), None);
    }

    #[test]
    fn plain_http_goes_through_a_proxy_of_this_machine_only() {
        let mut network = network("https://hub.example");
        network.proxy = Some(ureq::Proxy::new("http://127.0.0.1:3128").unwrap());
        assert_eq!(refusal(&network, None, "http://hub.example/"), None);
        let proxy = ureq::Proxy::builder(ureq::ProxyProtocol::Http).host("proxy.example").no_proxy("localhost");
        network.proxy = Some(proxy.build().unwrap());
        assert!(refusal(&network, None, "http://127.0.0.1/").unwrap().contains("proxy.example"));
        assert_eq!(refusal(&network, None, "http://localhost/"), None);
    }

    #[test]
    fn a_token_is_read_from_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_token(&TokenSource::File(Some(path.clone())))
        };
        assert_eq!(read(" hf_x\r\n").unwrap().as_deref(), Some("hf_x"));
        assert_eq!(read(" \n").unwrap(), None);
        let message = read("two words").unwrap_err().to_string();
        assert!(message.contains("token") && !message.contains("two words"), "{message}");
        assert!(read_token(&TokenSource::File(Some(dir.path().into()))).is_err());
        assert_eq!(read_token(&TokenSource::File(Some(dir.path().join("gone")))).unwrap(), None);
        assert_eq!(read_token(&TokenSource::File(None)).unwrap(), None);
        assert_eq!(read_token(&TokenSource::Disabled).unwrap(), None);
    }

    #[test]
    fn an_endpoint_that_is_not_an_address_is_refused() {
        for endpoint in ["hub.example", "ftp://hub.example", "https://", "C:\\hub"] {
            assert!(Client::new(&network(endpoint)).is_err(), "{endpoint}");
        }
    }
}
