//! The download of a model into the cache: the files, their order, and the verification of each blob.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::cache::{self, Repository};
use super::client::{Client, Failure, Listing, Metadata};
use super::settings::Network;
use super::{address, has_tokenizer, names};
use crate::checkpoint::weight_files::{self, BESIDE_WEIGHTS, Candidate, shards};
use crate::config::FILE_NAME as CONFIG;
use crate::heads::pooling::{MODULES, SentenceModule, modules};
use crate::heads::sentence_encoder::SENTENCE_CONFIGS;

/// The number of times that a download restarts because the main branch changed.
const MOVES: usize = 3;
/// The number of times that a file is resumed after a broken connection, as long as each connection transfers
/// something.
const RESUMES: u32 = 5;
/// The maximum size, in bytes, of a file whose size the server does not announce.
const UNKNOWN_SIZE: u64 = 256 << 20;
const BUFFER: usize = 1 << 20;

/// Fetches the files of the main branch of `model` that the cache lacks, and returns the directory of its snapshot.
pub(super) fn fetch(network: &Network, repository: &Repository, model: &str, quiet: bool) -> Result<PathBuf, Failure> {
    let download =
        Download { network, client: Client::new(network)?, repository, model, quiet, has_said_wait: Cell::new(false) };
    for _ in 1..MOVES {
        match download.snapshot() {
            Err(Failure::Moved) => {}
            done => return done,
        }
    }
    download.snapshot()
}

struct Download<'a> {
    network: &'a Network,
    client: Client<'a>,
    repository: &'a Repository,
    model: &'a str,
    quiet: bool,
    /// Whether the message about waiting for another download was printed.
    has_said_wait: Cell<bool>,
}

impl Download<'_> {
    /// Fetches all files of one commit, and then records it as the main branch, so that the main branch in the cache is
    /// always complete.
    fn snapshot(&self) -> Result<PathBuf, Failure> {
        let listing = self.client.listing(self.model)?;
        let directory = self.repository.snapshot_of(&listing.sha);
        let Files { small, weights } = files(&listing)?;
        for file in small {
            self.file(&listing, &directory, file)?;
            if file == MODULES {
                let modules = modules(&directory.join(MODULES)).map_err(|error| Failure::Final(error.to_string()))?;
                for config in modules.iter().filter_map(SentenceModule::config).filter(|file| listing.has(file)) {
                    self.file(&listing, &directory, &config)?;
                }
            }
        }
        // The weights last, because they are large.
        self.file(&listing, &directory, weights.name)?;
        if weights.is_index {
            let shards = shards(&directory.join(weights.name)).map_err(|error| Failure::Final(error.to_string()))?;
            if shards.keys().any(|shard| !names::is_shard(shard, weights.suffix)) {
                let index = weights.name;
                return Err(Failure::Final(format!("the hub's {index} names a shard that is not a weight file")));
            }
            for shard in shards.keys() {
                self.file(&listing, &directory, shard)?;
            }
        }
        for alternatives in [&[MODULES][..], &SENTENCE_CONFIGS] {
            if !alternatives.iter().any(|file| listing.has(file)) {
                let absent = self.repository.set_absent(&listing.sha, alternatives[0]);
                absent.map_err(|error| Failure::Final(error.to_string()))?;
            }
        }
        self.repository.set_main(&listing.sha).map_err(|error| Failure::Final(error.to_string()))?;
        Ok(directory)
    }

    /// Fetches one file into the snapshot, unless it is there.
    fn file(&self, listing: &Listing, directory: &Path, file: &str) -> Result<(), Failure> {
        let path = directory.join(file);
        if path.exists() {
            return Ok(());
        }
        let metadata = self.client.metadata(self.model, file)?;
        if metadata.commit != listing.sha {
            return Err(Failure::Moved);
        }
        let blob = self.repository.blob(&metadata.blob);
        let lock = self.repository.lock(&metadata.blob, || {
            if !self.quiet && !self.has_said_wait.replace(true) {
                _ = writeln!(io::stderr(), "waiting for another download of {}", self.model);
            }
        });
        let _lock = lock.map_err(at(&blob))?;
        let is_there = fs::metadata(&blob)
            .is_ok_and(|found| found.is_file() && metadata.size.is_none_or(|size| size == found.len()));
        if !is_there {
            self.blob(file, &metadata, &blob)?;
        }
        cache::link(&blob, &path, file.matches('/').count(), self.network.symlinks).map_err(at(&path))
    }

    /// Fetches a blob into a temporary file beside it, which a later attempt can resume.
    fn blob(&self, file: &str, metadata: &Metadata, blob: &Path) -> Result<(), Failure> {
        let partial = blob.with_file_name(format!("{}.incomplete", metadata.blob));
        let mut transfer = Transfer::open(self, file, metadata.size, &partial)?;
        let mut resumed = transfer.position > 0;
        loop {
            transfer.run()?;
            if !names::is_sha256(&metadata.blob) || sha256(&partial)?.eq_ignore_ascii_case(&metadata.blob) {
                break;
            }
            // The file of an earlier attempt may be damaged.
            if !resumed {
                _ = fs::remove_file(&partial);
                return Err(Failure::Final(format!("the content of {file} does not have the hub's SHA-256")));
            }
            resumed = false;
            transfer.position = 0;
        }
        transfer.bar.finish();
        match fs::rename(&partial, blob) {
            // Without locks, another download may already have renamed the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && blob.is_file() => Ok(()),
            renamed => renamed.map_err(at(blob)),
        }
    }
}

/// The transfer of one file. Bytes are written at their offset and never appended, so that two transfers of one blob on
/// a file system without locks write the same file.
struct Transfer<'a> {
    download: &'a Download<'a>,
    file: &'a str,
    size: Option<u64>,
    path: &'a Path,
    output: File,
    /// The number of bytes in `output`.
    position: u64,
    bar: ProgressBar,
}

impl<'a> Transfer<'a> {
    fn open(download: &'a Download<'a>, file: &'a str, size: Option<u64>, path: &'a Path) -> Result<Self, Failure> {
        cache::create_parent(path).map_err(at(path))?;
        // Writing through a link could change a file outside of the cache.
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            fs::remove_file(path).map_err(at(path))?;
        }
        let output = File::options().write(true).create(true).truncate(false).open(path).map_err(at(path))?;
        let position = output.metadata().map_err(at(path))?.len();
        let position = if size.is_some_and(|size| position > size) { 0 } else { position };
        let bar = progress_bar(file, size, download.quiet);
        Ok(Self { download, file, size, path, output, position, bar })
    }

    /// Fetches the missing bytes, over several connections if necessary.
    fn run(&mut self) -> Result<(), Failure> {
        let mut pause = self.download.network.pause;
        for resumes in 0.. {
            let before = self.position;
            match self.connect() {
                Err(Failure::Broken(_)) if self.position > before && resumes < RESUMES => {
                    thread::sleep(pause);
                    pause *= 2;
                }
                Err(failure) => return Err(failure),
                Ok(()) => break,
            }
        }
        self.output.set_len(self.position).and_then(|()| self.output.sync_all()).map_err(at(self.path))
    }

    /// Fetches the missing bytes over one connection.
    fn connect(&mut self) -> Result<(), Failure> {
        if self.position > 0 && self.size == Some(self.position) {
            return Ok(());
        }
        let Download { client, model, .. } = self.download;
        let (mut uri, mut response) = client.content(model, self.file, self.position)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            self.position = 0;
            (uri, response) = client.content(model, self.file, 0)?;
        }
        let refuse = |what: String| Failure::Final(format!("{} sent {what} of {}", address::origin(&uri), self.file));
        let (start, total) = extent(&response).ok_or_else(|| refuse("a range that cannot be read".into()))?;
        if start != 0 && start != self.position {
            return Err(refuse("another part than the one that was requested".into()));
        }
        if let (Some(size), Some(total)) = (self.size, total)
            && size != total
        {
            return Err(refuse(format!("{total} bytes instead of {size}")));
        }
        let size = self.size.or(total);
        let limit = size.unwrap_or(UNKNOWN_SIZE);
        self.position = start;
        self.output.seek(SeekFrom::Start(start)).map_err(at(self.path))?;
        self.bar.set_length(size.unwrap_or_default());
        self.bar.set_position(start);
        self.bar.reset_eta();
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = body.read(&mut buffer).map_err(|error| client.broken(&uri, error))?;
            if read == 0 {
                break;
            }
            if self.position + read as u64 > limit {
                return Err(refuse(format!("more than {limit} bytes")));
            }
            self.output.write_all(&buffer[..read]).map_err(at(self.path))?;
            self.position += read as u64;
            self.bar.set_position(self.position);
        }
        match size {
            Some(size) if self.position < size => {
                Err(client.broken(&uri, format!("{} ended after {} of {size} bytes", self.file, self.position)))
            }
            _ => Ok(()),
        }
    }
}

/// The files to fetch of those that a hub has.
struct Files {
    /// The configuration and the tokenizer.
    small: Vec<&'static str>,
    /// The weights, or the index that names them.
    weights: &'static Candidate,
}

fn files(listing: &Listing) -> Result<Files, Failure> {
    let lacks = |what: &str| Failure::Final(format!("the hub's copy has no {what}"));
    if !listing.has(CONFIG) {
        return Err(lacks(CONFIG));
    }
    if !has_tokenizer(|file| listing.has(file)) {
        return Err(lacks("tokenizer.json, vocab.txt, or vocab.json with merges.txt"));
    }
    let weights = weight_files::find(|file| listing.has(file));
    let weights =
        weights.ok_or_else(|| lacks("model.safetensors or pytorch_model.bin, nor an index of their shards"))?;
    let small = BESIDE_WEIGHTS.into_iter().chain(SENTENCE_CONFIGS).filter(|file| listing.has(file)).collect();
    Ok(Files { small, weights })
}

/// The offset of a response's bytes in the file, and the size of the file if the server reports it.
fn extent(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Some((0, header("content-length").map(str::parse).transpose().ok()?));
    }
    let (range, total) = header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    Some((start, if total == "*" { None } else { Some(total.parse().ok()?) }))
}

/// The SHA-256 of a file in lower-case digits.
fn sha256(path: &Path) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(at(path))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn progress_bar(file: &str, size: Option<u64>, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let template = "{msg} [{elapsed_precise}] [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})";
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    ProgressBar::with_draw_target(size, target).with_style(style).with_message(file.to_owned())
}

/// For `map_err`: an error of the system with the file that it concerns.
fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.to_path_buf();
    move |error| Failure::Final(format!("{}: {error}", path.display()))
}
