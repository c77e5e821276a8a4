//! Tests of the resolution of names, and of downloads from a hub on this machine.

use std::fs;

use super::*;
use crate::checkpoint::safetensors::{INDEX, SINGLE};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache with a snapshot of the repository `folder` that holds `files`, and a hub that is offline.
fn cache(folder: &str, files: &[&str]) -> (tempfile::TempDir, Hub) {
    let root = tempfile::tempdir().unwrap();
    let repository = root.path().join(folder);
    let snapshot = repository.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for file in files {
        fs::write(snapshot.join(file), "").unwrap();
    }
    let settings = Settings {
        cache: Some(root.path().into()),
        offline: true,
        // A port without a server.
        #[cfg(feature = "hub")]
        network: testing::network("http://127.0.0.1:9"),
    };
    (root, Hub { settings, quiet: true })
}

fn refusal(hub: &Hub, model: &str) -> String {
    let error = hub.resolve(model).unwrap_err();
    assert!(matches!(&error, Error::ModelNotFound { model: m, .. } if m == model), "{error}");
    let message = error.to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
    message
}

#[test]
fn a_directory_is_the_model() {
    let (root, hub) = cache("models--a--b", &[]);
    assert_eq!(hub.resolve(root.path().to_str().unwrap()).unwrap(), root.path());
}

#[test]
fn a_complete_snapshot_is_found_in_the_cache() {
    for (model, folder) in [("a/b", "models--a--b"), ("bert-base-uncased", "models--bert-base-uncased")] {
        for (weights, tokenizer) in [
            (SINGLE, &["tokenizer.json"][..]),
            (SINGLE, &["vocab.txt"]),
            (SINGLE, &["vocab.json", "merges.txt"]),
            ("pytorch_model.bin", &["vocab.txt"]),
        ] {
            let (root, hub) = cache(folder, &[&[CONFIG, weights], tokenizer].concat());
            let expected = root.path().join(folder).join("snapshots").join(COMMIT);
            assert_eq!(hub.resolve(model).unwrap(), expected);
        }
    }
}

#[test]
fn a_sharded_snapshot_needs_all_its_shards() {
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
        assert!(
            message.contains("HF_HUB_OFFLINE") && message.contains("give a directory with config.json"),
            "{message}"
        );
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
fn a_path_is_not_requested_from_the_hub() {
    let (root, mut hub) = cache("models--a--b", &[]);
    hub.settings.offline = false;
    for name in ["./gone", "/gone", "../gone", "x/y/z", "gone/", "", "a b", "a\\b", "~/m", "a--b", "-a", "a/../b"] {
        let message = refusal(&hub, name);
        assert!(message.contains("no such directory") && !message.contains("hub model"), "{name}: {message}");
    }
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refusal(&hub, file.to_str().unwrap()).contains("this is a file"));
}

#[test]
fn a_name_that_may_be_a_path_is_refused_as_both() {
    let (root, hub) = cache("models--a--b", &[]);
    // `src` is a directory here.
    for name in ["src/gone", "models/tiny", "tiny"] {
        let message = refusal(&hub, name);
        let absolute = env::current_dir().unwrap().join(name);
        for part in [&absolute, root.path()] {
            assert!(message.contains(part.to_str().unwrap()), "{message}");
        }
        assert!(message.contains("hub model") && !message.contains("huggingface.co"), "{message}");
    }
}

#[cfg(feature = "hub")]
mod downloads {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier, OnceLock, mpsc};
    use std::thread;
    use std::time::Duration;

    use sha2::{Digest, Sha256};

    use super::settings::TokenSource;
    use super::testing::{Answer, Received, Server, hub, network};
    use super::*;

    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";
    const WEIGHTS: &str = "the weights of the model";
    const FILES: [(&str, &str); 3] = [(CONFIG, "{}"), ("vocab.txt", "[UNK]"), (SINGLE, WEIGHTS)];

    /// An empty cache in a directory that must not change otherwise, and a hub at this server.
    fn online(server: &Server) -> (tempfile::TempDir, Hub) {
        let root = tempfile::tempdir().unwrap();
        let settings =
            Settings { cache: Some(root.path().join("x/cache")), offline: false, network: network(&server.address) };
        (root, Hub { settings, quiet: true })
    }

    /// The model's directory in the cache.
    fn repository(hub: &Hub) -> PathBuf {
        hub.settings.cache.as_ref().unwrap().join("models--a--b")
    }

    /// A hub with [`FILES`] whose answers `change` may replace.
    fn changed(change: impl Fn(&Received, Answer) -> Answer + Send + Sync + 'static) -> Server {
        let usual = hub(&FILES);
        Server::start(move |request| change(request, usual(request)))
    }

    fn weights(dir: &Path) -> String {
        fs::read_to_string(dir.join(SINGLE)).unwrap()
    }

    fn sha256(text: &str) -> String {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_model_is_fetched_into_the_cache_once() {
        let index = r#"{"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}"#;
        let pytorch_index = r#"{"weight_map": {"x": "one.bin", "y": "two.bin"}}"#;
        let vocabulary = [("vocab.txt", "[UNK]"), ("vocab.json", "{}"), ("merges.txt", "")];
        // In each case the weights, and what the hub has beside them.
        for (weights, others) in [
            (&[(SINGLE, "weights")][..], &["pytorch_model.bin", INDEX][..]),
            (&[(INDEX, index), ("one.safetensors", "1"), ("two.safetensors", "2")], &["pytorch_model.bin"]),
            (&[("pytorch_model.bin", "pickle")], &["tf_model.h5", "training_args.bin"]),
            (&[("pytorch_model.bin.index.json", pytorch_index), ("one.bin", "1"), ("two.bin", "2")], &["tf_model.h5"]),
        ] {
            let others: Vec<_> = others.iter().map(|name| (*name, "not used")).collect();
            let files = [&[(CONFIG, "{}")], &vocabulary[..], weights, &others].concat();
            let server = Server::start(hub(&files));
            let (_root, mut hub) = online(&server);
            let dir = hub.resolve("a/b").unwrap();
            assert_eq!(dir, repository(&hub).join("snapshots").join(COMMIT));
            for (file, text) in vocabulary.iter().chain(weights) {
                assert_eq!(fs::read_to_string(dir.join(file)).unwrap(), *text);
            }
            assert!(others.iter().all(|(name, _)| !dir.join(name).exists()), "only what is used is fetched");
            let before = server.requests().len();
            hub.settings.offline = true;
            assert_eq!(hub.resolve("a/b").unwrap(), dir);
            assert_eq!(server.requests().len(), before);
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_layout_is_the_python_librarys() {
        let server = Server::start(hub(&FILES));
        let (_root, hub) = online(&server);
        let dir = hub.resolve("a/b").unwrap();
        assert_eq!(fs::read_link(dir.join(SINGLE)).unwrap(), Path::new("../../blobs").join(SINGLE));
        assert_eq!(fs::read_to_string(repository(&hub).join("refs/main")).unwrap(), COMMIT);
        assert!(hub.settings.cache.as_ref().unwrap().join(".locks/models--a--b/config.json.lock").is_file());
        let mut blobs: Vec<_> =
            fs::read_dir(repository(&hub).join("blobs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        blobs.sort_unstable();
        assert_eq!(blobs, [CONFIG, SINGLE, "vocab.txt"]);
    }

    #[test]
    fn the_pooling_of_a_sentence_encoder_is_fetched() {
        let modules = r#"[{"type": "m.Transformer", "path": ""}, {"type": "m.Pooling", "path": "1_Pooling"}]"#;
        let pooling = r#"{"pooling_mode_mean_tokens": true}"#;
        let of_texts = r#"{"max_seq_length": 128, "do_lower_case": false}"#;
        let files = [
            &FILES[..],
            &[("modules.json", modules), ("1_Pooling/config.json", pooling), ("sentence_bert_config.json", of_texts)],
        ];
        let files = files.concat();
        for symlinks in [true, false] {
            let server = Server::start(hub(&files));
            let (_root, mut hub) = online(&server);
            hub.settings.network.symlinks = symlinks;
            let dir = hub.resolve("a/b").unwrap();
            assert_eq!(fs::read_to_string(dir.join("1_Pooling/config.json")).unwrap(), pooling);
            assert_eq!(crate::heads::Pooling::of_directory(&dir).unwrap().0, crate::heads::Pooling::Mean);
            let before = server.requests().len();
            hub.resolve("a/b").unwrap();
            assert_eq!(server.requests().len(), before, "the cache knows it");
            // As another program leaves it that has no use for them.
            fs::remove_file(dir.join("1_Pooling/config.json")).unwrap();
            hub.resolve("a/b").unwrap();
            fs::remove_file(dir.join("modules.json")).unwrap();
            hub.resolve("a/b").unwrap();
            assert!(dir.join("modules.json").exists() && dir.join("1_Pooling/config.json").exists());
            fs::remove_file(dir.join("sentence_bert_config.json")).unwrap();
            hub.resolve("a/b").unwrap();
            assert_eq!(fs::read_to_string(dir.join("sentence_bert_config.json")).unwrap(), of_texts);
        }
    }

    #[test]
    fn a_sentence_encoder_that_says_nothing_of_its_texts_is_known_to() {
        let modules = r#"[{"type": "m.Transformer", "path": ""}]"#;
        let server = Server::start(hub(&[&FILES[..], &[("modules.json", modules)]].concat()));
        let (_root, hub) = online(&server);
        hub.resolve("a/b").unwrap();
        let before = server.requests().len();
        hub.resolve("a/b").unwrap();
        assert_eq!(server.requests().len(), before);
    }

    #[test]
    fn without_links_a_snapshot_has_copies() {
        let server = Server::start(hub(&FILES));
        let (_root, mut hub) = online(&server);
        hub.settings.network.symlinks = false;
        let dir = hub.resolve("a/b").unwrap();
        assert!(!dir.join(SINGLE).is_symlink());
        assert_eq!(weights(&dir), WEIGHTS);
    }

    #[test]
    fn offline_opens_no_connection() {
        let server = Server::start(hub(&FILES));
        let (_root, mut hub) = online(&server);
        hub.settings.offline = true;
        assert!(refusal(&hub, "a/b").contains("HF_HUB_OFFLINE"));
        assert!(server.requests().is_empty());
    }

    #[test]
    fn a_failed_download_says_why_and_what_to_do() {
        let (_root, mut hub) = cache("unused", &[]);
        hub.settings.offline = false;
        let message = refusal(&hub, "a/b");
        assert!(
            message.contains("the download failed") && message.contains("give a directory with config.json"),
            "{message}"
        );
        let server = Server::start(testing::hub(&[(CONFIG, "{}"), ("vocab.txt", ""), ("tf_model.h5", "")]));
        hub.settings.network = network(&server.address);
        assert!(refusal(&hub, "a/b").contains("no model.safetensors or pytorch_model.bin"));
        assert!(refusal(&hub, "a/other").contains("404"));
        assert_eq!(server.fetched(CONFIG), 0, "what cannot be used is not fetched");
    }

    #[test]
    fn names_in_headers_cannot_lead_out_of_the_cache() {
        let absolute = tempfile::tempdir().unwrap();
        let absolute = absolute.path().join("planted").display().to_string();
        let outside = ["../../../../planted", "..", ".", "", "a/b", "../config.json", "a\\b", "a b", ".x", &absolute];
        for header in ["ETag", "X-Linked-ETag", "X-Repo-Commit"] {
            for value in outside {
                let hostile = if header == "X-Repo-Commit" { value.to_owned() } else { format!("\"{value}\"") };
                let server =
                    changed(
                        move |request, answer| {
                            if request.file().is_some() { answer.with(header, hostile.clone()) } else { answer }
                        },
                    );
                let (root, hub) = online(&server);
                let message = refusal(&hub, "a/b");
                assert!(message.contains("ETag") || message.contains("X-Repo-Commit"), "{message}");
                assert!(!root.path().join("planted").exists() && !Path::new(&absolute).exists(), "{header}: {value}");
                assert!(!root.path().join("x").exists(), "nothing is written before the names are checked");
                assert_eq!(server.fetched(CONFIG), 0);
            }
        }
    }

    #[test]
    fn a_listing_is_bounded_and_checked() {
        let long = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [], \"x\": \"{}\"}}", "x".repeat(16 << 20));
        let deep = "[".repeat(100_000);
        let with = |commit: &str| serde_json::json!({"sha": commit, "siblings": []}).to_string();
        for listing in
            ["", "{}", "[]", "null", &deep, &long, &with("../../planted"), &with("/"), &with(""), &with("main")]
        {
            let body = listing.to_owned();
            let server = changed(
                move |request, answer| {
                    if request.file().is_none() { Answer::new(200, body.clone()) } else { answer }
                },
            );
            let (root, hub) = online(&server);
            refusal(&hub, "a/b");
            assert!(!root.path().join("x").exists());
        }
    }

    #[test]
    fn a_shard_that_an_index_names_is_a_weight_file() {
        for shard in ["../../../planted.safetensors", "/planted.safetensors", "other.txt", "a b.safetensors", ""] {
            let shards = serde_json::json!({"weight_map": {"x": shard}}).to_string();
            for index in [INDEX, "pytorch_model.bin.index.json"] {
                let server = Server::start(hub(&[(CONFIG, "{}"), ("vocab.txt", ""), (index, &shards), (shard, "x")]));
                let (_root, hub) = online(&server);
                refusal(&hub, "a/b");
                assert_eq!(server.fetched(shard), 0, "{shard}");
            }
        }
    }

    #[test]
    fn the_token_is_shown_to_the_hub_and_to_no_other() {
        let storage = Server::start(|request: &Received| match request.path.as_str() {
            "/signed" => Answer::content(WEIGHTS.as_bytes(), request),
            _ => Answer::new(404, ""),
        });
        // Another name is another host, and so is another port.
        for host in ["localhost", "127.0.0.1"] {
            let elsewhere = storage.address.replace("127.0.0.1", host);
            let server = changed(move |request, answer| {
                if request.authorization.as_deref() != Some("Bearer s3cret") {
                    return Answer::new(401, "");
                }
                match request.path.as_str() {
                    "/a/b/resolve/main/model.safetensors" => Answer::redirect(format!("{elsewhere}/signed"))
                        .with("X-Linked-ETag", "\"weights\"")
                        .with("X-Linked-Size", WEIGHTS.len().to_string())
                        .with("X-Repo-Commit", COMMIT),
                    // As for a model that was renamed.
                    "/a/b/resolve/main/vocab.txt" => Answer::redirect("/renamed"),
                    "/renamed" => Answer::new(200, "[UNK]").with("ETag", "v").with("X-Repo-Commit", COMMIT),
                    _ => answer,
                }
            });
            let (_root, mut hub) = online(&server);
            hub.settings.network.token = TokenSource::Variable("HF_TOKEN", "s3cret".into());
            assert_eq!(weights(&hub.resolve("a/b").unwrap()), WEIGHTS);
            assert!(storage.requests().iter().all(|request| request.authorization.is_none()));
        }
        assert_eq!(storage.requests().len(), 2, "its size and version come from the hub alone");
    }

    #[test]
    fn a_request_that_comes_back_from_another_host_has_no_token() {
        let hub_address = Arc::new(OnceLock::<String>::new());
        let back = Arc::clone(&hub_address);
        let storage = Server::start(move |_: &Received| Answer::redirect(format!("{}/back", back.get().unwrap())));
        let away = format!("{}/away", storage.address);
        let server = changed(move |request, answer| match request.file() {
            Some(SINGLE) if request.method == "GET" => Answer::redirect(away.clone()),
            _ if request.path == "/back" => Answer::content(WEIGHTS.as_bytes(), request),
            _ => answer,
        });
        hub_address.set(server.address.clone()).unwrap();
        let (_root, mut hub) = online(&server);
        hub.settings.network.token = TokenSource::Variable("HF_TOKEN", "s3cret".into());
        hub.resolve("a/b").unwrap();
        for request in server.requests() {
            assert_eq!(request.authorization.is_some(), request.path != "/back", "{request:?}");
        }
    }

    #[test]
    fn a_refused_request_says_where_a_token_goes_and_never_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "s3cret").unwrap();
        for status in [401, 403] {
            let server = Server::start(move |_: &Received| Answer::new(status, "s3cret"));
            for (token, says) in [
                (TokenSource::File(None), "no token was found"),
                (TokenSource::File(Some(dir.path().join("gone"))), "no token was found"),
                (TokenSource::File(Some(path.clone())), path.to_str().unwrap()),
                (TokenSource::Variable("HUGGING_FACE_HUB_TOKEN", "s3cret".into()), "HUGGING_FACE_HUB_TOKEN"),
                (TokenSource::Disabled, "HF_HUB_DISABLE_IMPLICIT_TOKEN"),
            ] {
                let disabled = matches!(token, TokenSource::Disabled);
                let (_root, mut hub) = online(&server);
                hub.settings.network.token = token;
                let message = refusal(&hub, "a/b");
                assert!(message.contains(says) && !message.contains("s3cret"), "{message}");
                assert_eq!(message.contains("HF_TOKEN") && message.contains("hf auth login"), !disabled, "{message}");
            }
        }
    }

    #[test]
    fn redirects_are_bounded_and_lead_to_the_web() {
        for (location, says) in [
            ("/api/models/a/b/revision/main", "more than 10 times"),
            ("file:///etc/passwd", "not an address"),
            ("ftp://127.0.0.1/", "not an address"),
            ("", "not an address"),
            ("http://hub.example/x?secret", "BITFIT_ALLOW_HTTP=1"),
        ] {
            let server = Server::start(move |_: &Received| Answer::redirect(location));
            let (_root, hub) = online(&server);
            let message = refusal(&hub, "a/b");
            assert!(message.contains(says) && !message.contains("secret"), "{location}: {message}");
            assert_eq!(server.requests().len(), if location.starts_with('/') { 11 } else { 1 });
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_refused() {
        let (_root, mut hub) = cache("unused", &[]);
        hub.settings.offline = false;
        hub.settings.network = network("http://hub.example");
        assert!(refusal(&hub, "a/b").contains("BITFIT_ALLOW_HTTP=1"));
    }

    #[test]
    fn a_size_that_is_not_the_announced_one_is_refused() {
        for announced in ["23", "25", "0", "18446744073709551615"] {
            let server = changed(move |request, answer| match request.file() {
                Some(SINGLE) => answer.with("X-Linked-Size", announced),
                _ => answer,
            });
            let (_root, hub) = online(&server);
            assert!(refusal(&hub, "a/b").contains(&format!("24 bytes instead of {announced}")));
            assert!(!repository(&hub).join("refs").exists(), "an incomplete model is not recorded in the cache");
        }
        for nonsense in ["-1", "many", "18446744073709551616"] {
            let server = changed(move |_, answer| answer.with("X-Linked-Size", nonsense));
            let (_root, hub) = online(&server);
            assert!(refusal(&hub, "a/b").contains("size"));
        }
    }

    #[test]
    fn more_than_was_announced_is_not_written() {
        let server = changed(|request, answer| match request.file() {
            Some(SINGLE) if request.method == "HEAD" => answer.with("X-Linked-Size", "24"),
            // In chunks, so that no length is announced.
            Some(SINGLE) => Answer::new(200, "20\r\n01234567890123456789012345678901\r\n0\r\n\r\n")
                .with("Transfer-Encoding", "chunked")
                .with("Content-Length", "0"),
            _ => answer,
        });
        let (_root, hub) = online(&server);
        let message = refusal(&hub, "a/b");
        assert!(!repository(&hub).join("blobs").join(SINGLE).exists(), "{message}");
    }

    /// The first byte of each request for the content of the weights.
    fn starts(server: &Server) -> Vec<Option<usize>> {
        let requests = server.requests();
        requests.iter().filter(|request| request.is_content(SINGLE)).map(|request| request.start).collect()
    }

    #[test]
    fn content_is_checked_against_its_sha256() {
        let spoilt = Arc::new(AtomicUsize::new(1));
        let left = Arc::clone(&spoilt);
        let server = changed(move |request, answer| match request.file() {
            Some(SINGLE) => {
                let is_spoilt = request.method == "GET"
                    && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
                let text = if is_spoilt { WEIGHTS.to_uppercase() } else { WEIGHTS.into() };
                Answer::content(text.as_bytes(), request)
                    .with("ETag", format!("\"{}\"", sha256(WEIGHTS)))
                    .with("X-Repo-Commit", COMMIT)
            }
            _ => answer,
        });
        let (_root, hub) = online(&server);
        assert!(refusal(&hub, "a/b").contains("SHA-256"));
        let partial = repository(&hub).join("blobs").join(format!("{}.incomplete", sha256(WEIGHTS)));
        assert!(!partial.exists(), "wrong content is not kept");
        // The file of an earlier attempt has wrong content.
        fs::write(&partial, "THE ").unwrap();
        assert_eq!(weights(&hub.resolve("a/b").unwrap()), WEIGHTS);
        assert_eq!(starts(&server), [None, Some(4), None]);
    }

    #[test]
    fn a_broken_download_is_resumed() {
        let answers = Arc::new(AtomicUsize::new(0));
        let server = changed(move |request, mut answer| {
            if request.is_content(SINGLE) {
                // Two connections that break after some bytes, then one without any bytes, which ends the attempt.
                answer.cut = [Some(5), Some(6), Some(0), None][answers.fetch_add(1, Ordering::Relaxed)];
            }
            answer
        });
        let (_root, hub) = online(&server);
        let message = refusal(&hub, "a/b");
        assert!(message.contains("the download failed"), "{message}");
        assert_eq!(
            fs::read_to_string(repository(&hub).join("blobs/model.safetensors.incomplete")).unwrap(),
            &WEIGHTS[..11]
        );
        assert!(hub.repository("a/b").unwrap().snapshot().is_none());
        assert_eq!(weights(&hub.resolve("a/b").unwrap()), WEIGHTS);
        assert_eq!(starts(&server), [None, Some(5), Some(11), Some(11)]);
        assert!(!repository(&hub).join("blobs/model.safetensors.incomplete").exists());
    }

    #[test]
    fn a_server_without_ranges_begins_anew() {
        let without = |request: &Received| Answer::new(if request.start.is_some() { 416 } else { 200 }, WEIGHTS);
        let ignoring = |_: &Received| Answer::new(200, WEIGHTS);
        for content in [without as fn(&Received) -> Answer, ignoring] {
            for left in ["other", "what is left of an older and larger file", &WEIGHTS.to_uppercase()] {
                let server = changed(move |request, answer| match request.is_content(SINGLE) {
                    true => content(request),
                    false => answer,
                });
                let (_root, hub) = online(&server);
                let partial = repository(&hub).join("blobs/model.safetensors.incomplete");
                fs::create_dir_all(partial.parent().unwrap()).unwrap();
                fs::write(&partial, left).unwrap();
                let dir = hub.resolve("a/b").unwrap();
                // Without a SHA-256, a file of the announced size is complete.
                let expected = if left.len() == WEIGHTS.len() { left } else { WEIGHTS };
                assert_eq!(weights(&dir), expected);
            }
        }
    }

    #[test]
    fn another_range_than_the_requested_one_is_refused() {
        for range in ["bytes 3-23/24", "bytes 2-23/25", "lines 2-23/24", "bytes", "bytes -1-23/24"] {
            let server = changed(move |request, answer| match request.start {
                Some(_) => answer.with("Content-Range", range),
                None => answer,
            });
            let (_root, hub) = online(&server);
            let partial = repository(&hub).join("blobs/model.safetensors.incomplete");
            fs::create_dir_all(partial.parent().unwrap()).unwrap();
            fs::write(&partial, "th").unwrap();
            assert!(refusal(&hub, "a/b").contains("sent"), "{range}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_an_unfinished_download_is_not_followed() {
        let server = Server::start(hub(&FILES));
        let (root, hub) = online(&server);
        let precious = root.path().join("precious");
        fs::write(&precious, "p").unwrap();
        let partial = repository(&hub).join("blobs/model.safetensors.incomplete");
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&precious, &partial).unwrap();
        assert_eq!(weights(&hub.resolve("a/b").unwrap()), WEIGHTS);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "p");
    }

    #[test]
    fn a_blob_is_reused_unless_its_size_is_wrong() {
        for (blob, fetched) in [(WEIGHTS.to_uppercase(), 0), ("cut short".into(), 1)] {
            let server = Server::start(hub(&FILES));
            let (_root, hub) = online(&server);
            let path = repository(&hub).join("blobs").join(SINGLE);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &blob).unwrap();
            let expected = if fetched == 0 { &blob } else { WEIGHTS };
            assert_eq!(weights(&hub.resolve("a/b").unwrap()), expected);
            assert_eq!(server.fetched(SINGLE), fetched);
        }
    }

    #[test]
    fn a_silent_server_times_out() {
        let server = changed(|request, mut answer| {
            (answer.cut, answer.stalls) = (Some(3), request.is_content(SINGLE));
            if !answer.stalls {
                answer.cut = None;
            }
            answer
        });
        let (_root, mut hub) = online(&server);
        hub.settings.network.stall = Duration::from_millis(50);
        assert!(refusal(&hub, "a/b").contains("timeout"));
    }

    #[test]
    fn a_branch_that_moves_is_followed_for_some_time() {
        for moves in [1, 100] {
            let listings = Arc::new(AtomicUsize::new(0));
            let server = changed(move |request, answer| {
                if request.file().is_some() {
                    return answer.with("X-Repo-Commit", OTHER);
                }
                let is_old = listings.fetch_add(1, Ordering::Relaxed) < moves;
                let listing = String::from_utf8(answer.body).unwrap();
                Answer::new(200, if is_old { listing } else { listing.replace(COMMIT, OTHER) })
            });
            let (_root, hub) = online(&server);
            if moves == 1 {
                let dir = hub.resolve("a/b").unwrap();
                assert!(dir.ends_with(OTHER));
                assert_eq!(weights(&dir), WEIGHTS);
            } else {
                assert!(refusal(&hub, "a/b").contains("main branch changed"));
            }
        }
    }

    #[test]
    fn two_downloads_of_one_model_fetch_it_once() {
        // The weights are sent when both downloads have requested their metadata.
        let both = Arc::new(Barrier::new(2));
        let server = changed(move |request, answer| {
            if request.file() == Some(SINGLE) && request.method == "HEAD" {
                both.wait();
            }
            answer
        });
        let (_root, hub) = online(&server);
        thread::scope(|scope| {
            for download in [(); 2].map(|()| scope.spawn(|| hub.resolve("a/b").unwrap())) {
                assert_eq!(weights(&download.join().unwrap()), WEIGHTS);
            }
        });
        assert_eq!(server.fetched(SINGLE), 1);
    }

    #[test]
    fn a_lock_is_waited_for_even_if_its_file_is_deleted_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::new(dir.path(), "a/b");
        for deletes in [false, true] {
            let held = repository.lock("blob", || panic!("nothing to wait for")).unwrap();
            let (send, waits) = mpsc::channel();
            thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    let send = send;
                    repository.lock("blob", || send.send(()).unwrap()).unwrap()
                });
                waits.recv().unwrap();
                let path = dir.path().join(".locks/models--a--b/blob.lock");
                if deletes {
                    fs::remove_file(&path).unwrap();
                }
                drop(held);
                let _lock = waiter.join().unwrap();
                assert!(path.exists());
            });
        }
    }
}
