//! From the name of a model to a directory of its files: a path, the Hugging Face cache, or the hub.
//!
//! The cache is the one of the Python libraries, in its layout, so that a model is fetched once for both. With the feature
//! `hub` a model that is in no cache is downloaded into it; without, or with `HF_HUB_OFFLINE` set, nothing here opens a
//! connection.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::safetensors::{INDEX, SINGLE, shards};
use crate::config::FILE_NAME as CONFIG;
use crate::{Error, Result};

/// The directory of the model called `model`: an existing directory as it is; otherwise the hub id "organisation/name" or
/// "name", looked up in the cache (`HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `~/.cache/huggingface/hub`) and then,
/// with the feature `hub`, on the hub (`HF_ENDPOINT`, `HF_TOKEN`). A variable that is empty counts as not set. A download
/// shows bars on stderr, unless it is to be `quiet`.
///
/// # Errors
/// [`Error::ModelNotFound`] says why, and what to do.
pub fn resolve(model: &str, quiet: bool) -> Result<PathBuf> {
    Hub::new(|key| env::var_os(key), quiet).resolve(model)
}

/// What the environment says about the hub.
struct Hub {
    /// The directory of `models--organisation--name`, `None` on a machine without a home directory.
    cache: Option<PathBuf>,
    offline: bool,
    /// Whether a download shows nothing.
    #[cfg(feature = "hub")]
    quiet: bool,
    /// Another server than the hub's own, and the token to show it.
    #[cfg(feature = "hub")]
    endpoint: Option<String>,
    #[cfg(feature = "hub")]
    token: Option<String>,
}

impl Hub {
    /// What these variables say.
    #[cfg_attr(not(feature = "hub"), allow(unused_variables, reason = "without downloads nothing is shown"))]
    fn new(variable: impl Fn(&str) -> Option<OsString>, quiet: bool) -> Self {
        let set = |key: &str| variable(key).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |key: &str| {
            let text = variable(key)?.into_string().ok()?.trim().to_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        let home = env::home_dir();
        let expand = |path: PathBuf| match (path.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        };
        let cache = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(set("HF_HOME")?.join("hub")))
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface/hub")))
            .or_else(|| Some(home.as_ref()?.join(".cache/huggingface/hub")));
        let yes = |value: String| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str());
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].iter().any(|key| text(key).is_some_and(yes));
        Self {
            cache: cache.map(expand),
            offline,
            #[cfg(feature = "hub")]
            quiet,
            #[cfg(feature = "hub")]
            endpoint: text("HF_ENDPOINT"),
            #[cfg(feature = "hub")]
            token: text("HF_TOKEN"),
        }
    }

    fn resolve(&self, model: &str) -> Result<PathBuf> {
        let path = Path::new(model);
        if path.is_dir() {
            return Ok(path.into());
        }
        if path.exists() {
            return not_found(model, "this is a file; give the directory that holds config.json and model.safetensors");
        }
        if !is_hub_id(model) {
            return not_found(model, "there is no such directory");
        }
        match self.cached(model) {
            Some(dir) if is_complete(&dir) => Ok(dir),
            _ => self.fetch(model),
        }
    }

    /// The snapshot that the cache has of the main branch, complete or not.
    fn cached(&self, model: &str) -> Option<PathBuf> {
        let repository = self.cache.as_ref()?.join(format!("models--{}", model.replace('/', "--")));
        let commit = fs::read_to_string(repository.join("refs/main")).ok()?;
        let commit = commit.trim();
        // A commit is a hash; whatever else the file holds must not lead out of the cache.
        let is_hash = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| repository.join("snapshots").join(commit)).filter(|dir| dir.is_dir())
    }

    fn fetch(&self, model: &str) -> Result<PathBuf> {
        if self.offline {
            return self.not_at_hand(model, "HF_HUB_OFFLINE forbids a download");
        }
        #[cfg(feature = "hub")]
        return self.download(model);
        #[cfg(not(feature = "hub"))]
        self.not_at_hand(model, "this build has no downloads")
    }

    #[cfg(feature = "hub")]
    fn download(&self, model: &str) -> Result<PathBuf> {
        let Some(cache) = &self.cache else { return self.not_at_hand(model, "there is no home directory for a cache") };
        // Twice, because the main branch may have moved since a part of it was cached: the first file that is fetched then
        // begins a new snapshot, and those that were found in the old one are missing from it.
        for _ in 0..2 {
            self.fetch_missing(model, cache).or_else(|error| {
                // The messages of transport errors can run over several lines.
                let error = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                let why = format!("the download failed ({error}; a private, gated or misspelt name?)");
                self.not_at_hand(model, &why).map(drop)
            })?;
            if let Some(dir) = self.cached(model).filter(|dir| is_complete(dir)) {
                return Ok(dir);
            }
        }
        self.not_at_hand(model, "the hub lacks its config.json, its weights as safetensors, or its tokenizer")
    }

    /// Fetches into the cache whatever of a model's files is not there yet.
    #[cfg(feature = "hub")]
    fn fetch_missing(&self, model: &str, cache: &Path) -> std::result::Result<(), hf_hub::api::sync::ApiError> {
        use hf_hub::api::sync::ApiBuilder;
        use hf_hub::{Cache, Repo};

        let mut api = ApiBuilder::from_cache(Cache::new(cache.into())).with_progress(!self.quiet);
        if let Some(endpoint) = &self.endpoint {
            api = api.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        if let Some(token) = &self.token {
            api = api.with_token(Some(token.clone()));
        }
        let repository = api.build()?.repo(Repo::model(model.into()));
        let listing = repository.info()?;
        let has = |file: &str| listing.siblings.iter().any(|sibling| sibling.rfilename == file);
        // The weights last, so that a model that cannot be used says so before they are fetched.
        let weights = if has(SINGLE) { SINGLE } else { INDEX };
        let files = [CONFIG, "tokenizer_config.json", "tokenizer.json", "vocab.txt", weights];
        for file in files.into_iter().filter(|file| has(file)) {
            let path = repository.get(file)?;
            // An index that cannot be read makes the model an incomplete one.
            for shard in
                Some(&path).filter(|_| file == INDEX).and_then(|index| shards(index).ok()).unwrap_or_default().keys()
            {
                repository.get(shard)?;
            }
        }
        Ok(())
    }

    fn not_at_hand(&self, model: &str, why: &str) -> Result<PathBuf> {
        let cache = self.cache.as_ref().map_or("the cache".into(), |cache| cache.display().to_string());
        not_found(
            model,
            &format!(
                "no such directory, not in {cache}, and {why}; put config.json, model.safetensors, tokenizer.json and \
                 tokenizer_config.json of https://huggingface.co/{model} into a directory and pass --model DIR"
            ),
        )
    }
}

fn not_found(model: &str, reason: &str) -> Result<PathBuf> {
    Err(Error::ModelNotFound { model: model.into(), reason: reason.into() })
}

/// Whether a name is "organisation/name" or "name" by the hub's rules: what looks like a path is none.
fn is_hub_id(model: &str) -> bool {
    let is_part = |part: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        part.len() <= 96
            && edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !part.contains("--")
            && !part.contains("..")
    };
    model.split('/').count() <= 2 && model.split('/').all(is_part)
}

/// Whether a snapshot holds what a checkpoint needs. The Python libraries fetch file by file, so it may hold less.
fn is_complete(dir: &Path) -> bool {
    let has_tokenizer = dir.join("tokenizer.json").exists() || dir.join("vocab.txt").exists();
    let has_weights = dir.join(SINGLE).exists()
        || shards(&dir.join(INDEX)).is_ok_and(|shards| shards.keys().all(|shard| dir.join(shard).exists()));
    dir.join(CONFIG).exists() && has_weights && has_tokenizer
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A cache with a snapshot of `model` that holds `files`.
    fn cache(model: &str, files: &[&str]) -> (tempfile::TempDir, Hub) {
        let root = tempfile::tempdir().unwrap();
        let repository = root.path().join(model);
        let snapshot = repository.join("snapshots").join(COMMIT);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), COMMIT).unwrap();
        for file in files {
            fs::write(snapshot.join(file), "").unwrap();
        }
        let hub = Hub {
            cache: Some(root.path().into()),
            offline: true,
            #[cfg(feature = "hub")]
            quiet: true,
            // Nothing listens there.
            #[cfg(feature = "hub")]
            endpoint: Some("http://127.0.0.1:9".into()),
            #[cfg(feature = "hub")]
            token: None,
        };
        (root, hub)
    }

    fn refusal(hub: &Hub, model: &str) -> String {
        let error = hub.resolve(model).unwrap_err();
        assert!(matches!(&error, Error::ModelNotFound { model: m, .. } if m == model), "{error}");
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        let of = |value: &'static str| Hub::new(move |key| key.starts_with("HF_").then(|| value.into()), true);
        for empty in ["", "  "] {
            let hub = of(empty);
            assert!(!hub.offline);
            #[cfg(feature = "hub")]
            assert_eq!((hub.endpoint, hub.token), (None, None));
        }
        let hub = of(" 1 ");
        assert!(hub.offline);
        #[cfg(feature = "hub")]
        assert_eq!((hub.endpoint, hub.token), (Some("1".into()), Some("1".into())));
    }

    #[test]
    fn a_directory_is_used_as_it_is() {
        let (root, hub) = cache("models--a--b", &[]);
        let dir = root.path().to_str().unwrap();
        assert_eq!(hub.resolve(dir).unwrap(), root.path());
        assert_eq!(hub.resolve(".").unwrap(), Path::new("."));
    }

    #[test]
    fn a_cached_model_is_found_without_a_network() {
        let files = [CONFIG, SINGLE, "tokenizer.json"];
        let (root, hub) = cache("models--sentence-transformers--all-MiniLM-L6-v2", &files);
        let dir = hub.resolve("sentence-transformers/all-MiniLM-L6-v2").unwrap();
        assert!(dir.starts_with(root.path()) && dir.ends_with(COMMIT));
        let (_root, hub) = cache("models--bert-base-uncased", &[CONFIG, SINGLE, "vocab.txt"]);
        assert!(hub.resolve("bert-base-uncased").unwrap().ends_with(COMMIT));
    }

    #[test]
    fn a_cached_model_may_be_in_shards() {
        let (root, hub) = cache("models--a--b", &[CONFIG, "tokenizer.json", "model-1.safetensors"]);
        let index = root.path().join("models--a--b/snapshots").join(COMMIT).join(INDEX);
        for (shard, complete) in [("model-1", true), ("model-2", false), ("../model-1", false)] {
            let weight_map = serde_json::json!({"x": "model-1.safetensors", "y": format!("{shard}.safetensors")});
            fs::write(&index, serde_json::json!({"weight_map": weight_map}).to_string()).unwrap();
            assert_eq!(hub.resolve("a/b").is_ok(), complete, "{shard}");
        }
    }

    #[test]
    fn an_incomplete_snapshot_is_not_used() {
        for files in [&[CONFIG, SINGLE][..], &[CONFIG, "tokenizer.json"], &[SINGLE, "tokenizer.json"]] {
            let (_root, hub) = cache("models--a--b", files);
            let message = refusal(&hub, "a/b");
            assert!(message.contains("HF_HUB_OFFLINE") && message.contains("pass --model DIR"), "{message}");
        }
    }

    #[test]
    fn a_reference_cannot_lead_out_of_the_cache() {
        let (root, hub) = cache("models--a--b", &[CONFIG, SINGLE, "vocab.txt"]);
        for reference in ["../snapshots/0123456789abcdef0123456789abcdef01234567", "/", "..", ""] {
            fs::write(root.path().join("models--a--b/refs/main"), reference).unwrap();
            assert!(hub.resolve("a/b").is_err(), "{reference}");
        }
    }

    #[test]
    fn what_looks_like_a_path_is_not_asked_of_the_hub() {
        let (root, mut hub) = cache("models--a--b", &[]);
        hub.offline = false;
        for name in
            ["./gone", "/gone", "../gone", "x/y/z", "gone/", "", "a b", "a\\b", "~/m", "a--b", "-a", "é", "a/../b"]
        {
            let message = refusal(&hub, name);
            assert!(message.ends_with("there is no such directory"), "{name}: {message}");
        }
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(refusal(&hub, file.to_str().unwrap()).contains("this is a file"));
    }

    #[test]
    fn names_of_the_hub_are_recognised() {
        for name in
            ["bert-base-uncased", "google/bert_uncased_L-2_H-128_A-2", "a/b.c", "microsoft/MiniLM-L12-H384-uncased"]
        {
            assert!(is_hub_id(name), "{name}");
        }
    }

    /// A hub on this machine that has `files` of the model a/b for as long as the test runs; returns its address.
    #[cfg(feature = "hub")]
    fn server(files: &[(&'static str, &'static str)]) -> String {
        use std::io::{BufRead, BufReader, Write};
        let files = files.to_vec();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines: Vec<String> =
                    BufReader::new(&stream).lines().map_while(|line| line.ok().filter(|l| !l.is_empty())).collect();
                let path = lines[0].split(' ').nth(1).unwrap();
                let range = lines
                    .iter()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
                let file =
                    path.strip_prefix("/a/b/resolve/main/").and_then(|f| files.iter().find(|(name, _)| *name == f));
                let answer = match file {
                    Some((name, text)) => {
                        let only_first = range.as_deref() == Some("0-0");
                        let body = if only_first { &text[..1] } else { text };
                        let end = if only_first { 0 } else { text.len() - 1 };
                        format!(
                            "HTTP/1.1 206 Partial Content\r\nETag: \"{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: \
                             bytes 0-{end}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                            text.len(),
                            body.len(),
                        )
                    }
                    None if path == "/api/models/a/b/revision/main" => {
                        let siblings: Vec<_> =
                            files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
                        let body = serde_json::json!({"siblings": siblings, "sha": COMMIT}).to_string();
                        let length = body.len();
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                    }
                    None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[cfg(feature = "hub")]
    #[test]
    fn a_model_is_fetched_into_the_cache_once() {
        let index = r#"{"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}"#;
        for weights in
            [&[(SINGLE, "weights")][..], &[(INDEX, index), ("one.safetensors", "1"), ("two.safetensors", "2")]]
        {
            let (_root, mut hub) = cache("unused", &[]);
            hub.offline = false;
            let files = [&[(CONFIG, "{}"), ("vocab.txt", "[UNK]"), ("pytorch_model.bin", "pickle")], weights].concat();
            hub.endpoint = Some(server(&files));
            let dir = hub.resolve("a/b").unwrap();
            assert_eq!(fs::read_to_string(dir.join("vocab.txt")).unwrap(), "[UNK]");
            for (file, text) in weights {
                assert_eq!(fs::read_to_string(dir.join(file)).unwrap(), *text);
            }
            assert!(!dir.join("pytorch_model.bin").exists(), "only what is used is fetched");
            hub.offline = true;
            assert_eq!(hub.resolve("a/b").unwrap(), dir);
        }
    }

    #[cfg(feature = "hub")]
    #[test]
    fn a_failed_download_says_why_and_what_to_do() {
        let (_root, mut hub) = cache("unused", &[]);
        hub.offline = false;
        let message = refusal(&hub, "a/b");
        assert!(message.contains("the download failed") && message.contains("pass --model DIR"), "{message}");
        hub.endpoint = Some(server(&[(CONFIG, "{}"), ("vocab.txt", "[UNK]"), ("pytorch_model.bin", "pickle")]));
        assert!(refusal(&hub, "a/b").contains("as safetensors"));
        assert!(refusal(&hub, "a/other").contains("404"));
    }
}
