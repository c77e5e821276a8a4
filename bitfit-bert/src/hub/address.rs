//! Addresses of requests: their origins, where redirects lead, and whether a host is this machine.

use std::net::IpAddr;

use ureq::http::Uri;

/// Parses an absolute http or https address with a host.
pub(super) fn parse(address: &str) -> Option<Uri> {
    let uri: Uri = address.parse().ok()?;
    let is_complete = (is_https(&uri) || is_http(&uri)) && uri.host().is_some_and(|host| !host.is_empty());
    is_complete.then_some(uri)
}

/// Whether the scheme is `https`.
pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

fn is_http(uri: &Uri) -> bool {
    uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"))
}

/// The scheme, host and port, without the default port of the scheme. A token is sent to one origin only, and messages
/// show only the origin of an address, because the rest may contain a signature or a password.
pub(super) fn origin(uri: &Uri) -> String {
    let (scheme, usual) = if is_https(uri) { ("https", 443) } else { ("http", 80) };
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    match uri.port_u16() {
        Some(port) if port != usual => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    }
}

/// Resolves the `Location` of a redirect from `base`, which may be relative. `None` if it is not an http or https
/// address.
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let before_path = &location[..location.find(['/', '?']).unwrap_or(location.len())];
    if before_path.contains(':') {
        return parse(location);
    }
    let scheme = base.scheme_str()?;
    if location.starts_with("//") {
        return parse(&format!("{scheme}:{location}"));
    }
    let path = base.path();
    let directory = &path[..=path.rfind('/')?];
    let base = format!("{scheme}://{}", base.authority()?);
    match location.chars().next() {
        Some('/') => parse(&format!("{base}{location}")),
        Some('?') => parse(&format!("{base}{path}{location}")),
        Some(_) => parse(&format!("{base}{directory}{location}")),
        None => None,
    }
}

/// Whether a host is this machine: `localhost`, 127.0.0.0/8 or [::1]. Other spellings of these addresses are not
/// recognised.
pub(super) fn is_loopback(host: &str) -> bool {
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || ip.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_web_are_parsed() {
        for address in ["https://a", "http://a:1/b?c", "HTTPS://A", "https://[::1]:2/"] {
            assert!(parse(address).is_some(), "{address}");
        }
        for address in ["", "a", "/a", "a:1", "ftp://a/", "file:///etc/passwd", "https://", "https:///a", "http://a b/"]
        {
            assert!(parse(address).is_none(), "{address}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (address, expected) in [
            ("https://Hub.example/a?b", "https://hub.example"),
            ("https://hub.example:443/", "https://hub.example"),
            ("http://hub.example:443/", "http://hub.example:443"),
            ("http://hub.example:80", "http://hub.example"),
            ("https://user:secret@hub.example:8/", "https://hub.example:8"),
            ("https://hub.example@evil.example/", "https://evil.example"),
        ] {
            assert_eq!(origin(&parse(address).unwrap()), expected);
        }
    }

    #[test]
    fn a_redirect_is_resolved_against_its_base() {
        let base = parse("https://hub.example:8/a/b?c").unwrap();
        for (location, expected) in [
            ("https://cdn.example/x?sig=1#frag", Some("https://cdn.example/x?sig=1")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("/x/y", Some("https://hub.example:8/x/y")),
            ("x", Some("https://hub.example:8/a/x")),
            ("?x=a:b", Some("https://hub.example:8/a/b?x=a:b")),
            ("/x:y", Some("https://hub.example:8/x:y")),
            ("file:///etc/passwd", None),
            ("javascript:alert(1)", None),
            ("ftp://a/b", None),
            ("https:cdn.example", None),
            ("http:///x", None),
            ("", None),
            ("#x", None),
        ] {
            let joined = join(&base, location).map(|uri| uri.to_string());
            assert_eq!(joined.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn this_machine_is_recognised() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "0.0.0.0",
            "10.0.0.1",
            "127.0.0.1.example",
            "localhost.example",
            "127.1",
            "[::2]",
            "128.0.0.1",
            "[::ffff:10.0.0.1]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
