//! Checks of names that come from a hub, a cache or a task file, before they become part of a path or an address.

/// Whether a name is "organisation/name" or "name" by the hub's rules. A name with the form of a path, such as one that
/// begins with a dot, a tilde or a separator, is not.
pub(super) fn is_hub_id(model: &str) -> bool {
    let is_part = |part: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        part.len() <= 96
            && edge(part.bytes().next())
            && edge(part.bytes().last())
            && is_plain(part)
            && !part.contains("--")
            && !part.contains("..")
    };
    model.split('/').count() <= 2 && model.split('/').all(is_part)
}

/// Whether a revision is the hash of a commit.
pub(super) fn is_commit(commit: &str) -> bool {
    (1..=64).contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The file name of an ETag in the cache: without its quotes and the prefix of weak tags.
#[cfg(feature = "hub")]
pub(super) fn blob(etag: &str) -> Option<&str> {
    let name = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    // The name of a blob must differ from those of unfinished downloads.
    let is_name = is_plain(name) && name.len() <= 128 && !name.starts_with('.') && !name.ends_with(".incomplete");
    is_name.then_some(name)
}

/// Whether a blob's name is the SHA-256 of its content. That of a small file is the hash of its Git object.
#[cfg(feature = "hub")]
pub(super) fn is_sha256(blob: &str) -> bool {
    blob.len() == 64 && blob.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a shard's name, from an index, is that of a weight file beside the index, whose format has this `suffix`.
#[cfg(feature = "hub")]
pub(super) fn is_shard(name: &str, suffix: &str) -> bool {
    is_plain(name) && name.len() <= 128 && !name.starts_with('.') && name.ends_with(suffix)
}

/// Whether a name has letters, digits, dots, underscores and hyphens only, and at least one of them.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_are_recognised() {
        for name in
            ["bert-base-uncased", "google/bert_uncased_L-2_H-128_A-2", "a/b.c", "microsoft/MiniLM-L12-H384-uncased"]
        {
            assert!(is_hub_id(name), "{name}");
        }
        for name in [
            "./gone", "/gone", "../gone", "x/y/z", "gone/", "", "a b", "a\\b", "~/m", "a--b", "-a", "é", "a/../b",
            "a\n",
        ] {
            assert!(!is_hub_id(name), "{name}");
        }
    }

    #[test]
    fn a_commit_is_a_hash() {
        assert!(is_commit("0123456789abcdef0123456789abcdef01234567"));
        let long = "0".repeat(65);
        for commit in ["", "main", "../0", "/0", "0/0", ".", "0123\n", &long] {
            assert!(!is_commit(commit), "{commit}");
        }
    }

    #[cfg(feature = "hub")]
    #[test]
    fn an_etag_is_a_file_name_or_refused() {
        for (etag, name) in [("\"abc\"", "abc"), ("W/\"a.b_c-1\"", "a.b_c-1"), ("abc", "abc")] {
            assert_eq!(blob(etag), Some(name));
        }
        let long = format!("\"{}\"", "a".repeat(129));
        for etag in [
            "",
            "\"\"",
            "\"/etc/passwd\"",
            "\"../x\"",
            "\"..\"",
            "\".\"",
            "\".lock\"",
            "\"a/b\"",
            "\"a\\b\"",
            "\"C:a\"",
            "\"a b\"",
            "\"a\0\"",
            "\"é\"",
            "\"a.incomplete\"",
            "W/W/\"a\"",
            &long,
        ] {
            assert_eq!(blob(etag), None, "{etag}");
        }
    }

    #[cfg(feature = "hub")]
    #[test]
    fn a_shard_is_a_weight_file_beside_its_index() {
        assert!(is_shard("model-00001-of-00002.safetensors", ".safetensors"));
        assert!(is_shard("pytorch_model-00001-of-00002.bin", ".bin"));
        for name in
            ["config.json", "../m.safetensors", "/m.safetensors", ".safetensors", "a b.safetensors", "m.bin", ""]
        {
            assert!(!is_shard(name, ".safetensors"), "{name}");
        }
    }
}
