//! The settings of the cache, the hub, its token and the network, from the environment.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
#[cfg(feature = "hub")]
use std::time::Duration;

/// The settings of one resolution.
pub(super) struct Settings {
    /// The directory that contains `models--organisation--name`; `None` on a machine without a home directory.
    pub cache: Option<PathBuf>,
    /// Whether downloads are forbidden.
    pub offline: bool,
    #[cfg(feature = "hub")]
    pub network: Network,
}

/// The settings of downloads.
#[cfg(feature = "hub")]
pub(super) struct Network {
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    pub token: TokenSource,
    /// Whether `http://` to other machines is permitted.
    pub allow_http: bool,
    pub proxy: Option<ureq::Proxy>,
    /// The timeout of a connection on which nothing is received.
    pub stall: Duration,
    /// The time to wait after a connection broke, before the first attempt to resume.
    pub pause: Duration,
    /// Whether a snapshot has links to its blobs rather than copies.
    pub symlinks: bool,
}

/// The source of the token. A file is read only when a connection is made.
#[cfg(feature = "hub")]
pub(super) enum TokenSource {
    /// The token, and the name of its variable.
    Variable(&'static str, String),
    /// The path of a file that need not exist; `None` on a machine without a home directory.
    File(Option<PathBuf>),
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` forbids sending one.
    Disabled,
}

#[cfg(feature = "hub")]
const ENDPOINT: &str = "https://huggingface.co";
/// The default of `Network::stall`. huggingface_hub waits for 10 seconds only, but then tries again.
#[cfg(feature = "hub")]
const STALL: Duration = Duration::from_secs(30);
#[cfg(feature = "hub")]
const PAUSE: Duration = Duration::from_secs(1);

impl Settings {
    /// Reads the settings from the environment that `variable` looks up.
    pub(super) fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let home = env::home_dir();
        let path = |key: &str| {
            let value = variable(key)?;
            // A value that is not Unicode has nothing to expand.
            match value.into_string() {
                Ok(text) if text.trim().is_empty() => None,
                Ok(text) => Some(expand(&text, home.as_deref(), &variable)),
                Err(value) => Some(value.into()),
            }
        };
        let text = |key: &str| {
            let text = variable(key)?.into_string().ok()?.trim().to_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        let yes = |key: &str| {
            text(key).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
        };
        let hf_home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(home.as_ref()?.join(".cache/huggingface")));
        Self {
            cache: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .or_else(|| Some(hf_home.as_ref()?.join("hub"))),
            offline: yes("HF_HUB_OFFLINE") || yes("TRANSFORMERS_OFFLINE"),
            #[cfg(feature = "hub")]
            network: Network {
                endpoint: text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').into(),
                token: if yes("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                    TokenSource::Disabled
                } else {
                    let variable = |key| Some(TokenSource::Variable(key, text(key)?));
                    let file = || TokenSource::File(path("HF_TOKEN_PATH").or_else(|| Some(hf_home?.join("token"))));
                    variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")).unwrap_or_else(file)
                },
                allow_http: yes("BITFIT_ALLOW_HTTP"),
                proxy: ureq::Proxy::try_from_env(),
                stall: text("HF_HUB_DOWNLOAD_TIMEOUT")
                    .and_then(|seconds| seconds.parse().ok())
                    .filter(|seconds| *seconds > 0)
                    .map_or(STALL, Duration::from_secs),
                pause: PAUSE,
                symlinks: !yes("HF_HUB_DISABLE_SYMLINKS"),
            },
        }
    }
}

/// Replaces a leading `~` by the home directory, and `$NAME` and `${NAME}` by the variables of these names, as Python's
/// `expanduser` and `expandvars` do. Variables without a value are left unchanged.
fn expand(text: &str, home: Option<&std::path::Path>, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let mut expanded = OsString::new();
    let mut rest = text;
    if let Some(home) = home
        && (text == "~" || text.starts_with("~/"))
    {
        expanded.push(home);
        rest = &text[1..];
    }
    while let Some(dollar) = rest.find('$') {
        expanded.push(&rest[..dollar]);
        rest = &rest[dollar..];
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, len) = match rest[1..].strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some((name, _)) => (name, name.len() + 3),
            None => {
                let end = rest[1..].find(|c| !is_word(c)).map_or(rest.len(), |end| end + 1);
                (&rest[1..end], end)
            }
        };
        let value = Some(name).filter(|name| !name.is_empty()).and_then(&variable);
        expanded.push(value.unwrap_or_else(|| rest[..len].into()));
        rest = &rest[len..];
    }
    expanded.push(rest);
    expanded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::new(move |key| variables.iter().find(|(other, _)| other == key).map(|(_, value)| value.into()))
    }

    #[test]
    fn a_blank_variable_counts_as_not_set() {
        for blank in ["", "  "] {
            let keys = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"];
            let settings = settings(&keys.map(|key| (key, blank)));
            assert_eq!(settings.cache, env::home_dir().map(|home| home.join(".cache/huggingface/hub")));
            assert!(!settings.offline);
        }
    }

    #[test]
    fn the_cache_is_where_the_python_library_has_it() {
        let all =
            [("HF_HUB_CACHE", "/a"), ("HUGGINGFACE_HUB_CACHE", "/b"), ("HF_HOME", "/c"), ("XDG_CACHE_HOME", "/d")];
        for (i, cache) in ["/a", "/b", "/c/hub", "/d/huggingface/hub"].iter().enumerate() {
            assert_eq!(settings(&all[i..]).cache.unwrap(), PathBuf::from(cache));
        }
    }

    #[test]
    fn a_tilde_and_variables_in_a_path_are_expanded() {
        let home = env::home_dir().unwrap();
        let disk = ("DISK", "/disk");
        for (value, path) in [
            ("~", home.clone()),
            ("~/x", home.join("x")),
            ("~other/x", "~other/x".into()),
            ("$DISK/x", "/disk/x".into()),
            ("/a/${DISK}x$", "/a//diskx$".into()),
            ("/a/$GONE/${GONE}/${", "/a/$GONE/${GONE}/${".into()),
        ] {
            assert_eq!(settings(&[("HF_HUB_CACHE", value), disk]).cache.unwrap(), path, "{value}");
        }
    }

    #[test]
    fn downloads_are_forbidden_by_either_variable() {
        for (key, value, offline) in [
            ("HF_HUB_OFFLINE", "1", true),
            ("TRANSFORMERS_OFFLINE", "True", true),
            ("HF_HUB_OFFLINE", "ON", true),
            ("HF_HUB_OFFLINE", "0", false),
            ("TRANSFORMERS_OFFLINE", "no", false),
        ] {
            assert_eq!(settings(&[(key, value)]).offline, offline, "{key}={value}");
        }
    }

    #[cfg(feature = "hub")]
    #[test]
    fn the_token_is_where_the_python_library_finds_it() {
        let all = [
            ("HF_TOKEN", " one\n"),
            ("HUGGING_FACE_HUB_TOKEN", "two"),
            ("HF_TOKEN_PATH", "/three"),
            ("HF_HOME", "/four"),
            ("XDG_CACHE_HOME", "/five"),
            ("HF_HUB_CACHE", "/elsewhere"),
        ];
        let found = |variables: &[(&str, &str)]| match settings(variables).network.token {
            TokenSource::Variable(name, token) => format!("{name} {token}"),
            TokenSource::File(path) => path.unwrap().display().to_string(),
            TokenSource::Disabled => "disabled".into(),
        };
        let expected =
            ["HF_TOKEN one", "HUGGING_FACE_HUB_TOKEN two", "/three", "/four/token", "/five/huggingface/token"];
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(found(&all[i..]), *expected);
            let blank: Vec<_> = all[..i].iter().map(|(key, _)| (*key, " ")).chain(all[i..].iter().copied()).collect();
            assert_eq!(found(&blank), *expected);
        }
        let usual = env::home_dir().unwrap().join(".cache/huggingface/token");
        assert_eq!(found(&[]), usual.display().to_string());
        assert_eq!(found(&[("HF_TOKEN", "one"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), "disabled");
    }

    #[cfg(feature = "hub")]
    #[test]
    fn the_endpoint_has_no_slash_at_its_end() {
        assert_eq!(settings(&[("HF_ENDPOINT", " ")]).network.endpoint, ENDPOINT);
        assert_eq!(
            settings(&[("HF_ENDPOINT", "https://mirror.example/hf/")]).network.endpoint,
            "https://mirror.example/hf"
        );
    }
}
