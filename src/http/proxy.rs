//! Whether the proxies that the environment names can be used.

use http::Uri;

/// The variables from which the HTTP library takes proxies. Of two that differ in their letters only, it takes the first.
const VARIABLES: [[&str; 2]; 3] = [
    ["HTTPS_PROXY", "https_proxy"],
    ["HTTP_PROXY", "http_proxy"],
    ["ALL_PROXY", "all_proxy"],
];

/// A variable that names a proxy which cannot be used. Its value may have a password in it, and is left out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0} is not the URL of a proxy: it must be http://host:port or https://host:port, without white space"
)]
pub struct UnusableProxy(&'static str);

/// Checks the proxies of an environment. The HTTP library goes without one that it cannot parse, and says nothing: a
/// network that has no other way out would show as an endpoint that does not answer.
pub fn check_proxies(variable: impl Fn(&str) -> Option<String>) -> Result<(), UnusableProxy> {
    for names in VARIABLES {
        let set = |name| Some((name, variable(name)?));
        if let Some((name, value)) = names.into_iter().find_map(set)
            // An empty one is none.
            && !value.is_empty()
            && !is_proxy(&value)
        {
            return Err(UnusableProxy(name));
        }
    }
    Ok(())
}

/// Whether this is the URL of a proxy that the HTTP library takes.
pub fn is_proxy(text: &str) -> bool {
    let Ok(url) = text.parse::<Uri>() else {
        return false;
    };
    let Some(authority) = url.authority() else {
        return false;
    };
    let host = authority.host();
    let has_port = !authority.as_str().ends_with(host);
    matches!(url.scheme_str(), None | Some("http" | "https"))
        && !host.is_empty()
        && (!has_port || authority.port_u16().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)]) -> Result<(), UnusableProxy> {
        check_proxies(|name| {
            let mut found = variables.iter().filter(|(set, _)| *set == name);
            found.next().map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_proxy_that_the_http_library_would_go_without_is_refused() {
        for value in [
            "http://proxy.example.com:3128\n",
            " http://proxy.example.com:3128",
            "http://proxy.example.com:port",
            "http://proxy.example.com:99999",
            "http://proxy.example.com:",
            "http://user:pass word@proxy.example.com:3128",
            "http://",
            "http:/proxy.example.com",
            "/proxy",
            "\"http://proxy.example.com:3128\"",
            "socks5://proxy.example.com:1080",
            "ftp://proxy.example.com",
        ] {
            for name in VARIABLES.as_flattened() {
                assert_eq!(
                    check(&[(name, value)]),
                    Err(UnusableProxy(name)),
                    "{value:?}"
                );
            }
        }
    }

    #[test]
    fn a_proxy_that_can_be_used_is_taken_and_so_is_none() {
        for value in [
            "http://proxy.example.com:3128",
            "http://proxy.example.com:3128/",
            "https://proxy.example.com",
            "http://user:password@proxy.example.com:3128",
            "http://user@proxy.example.com",
            "proxy.example.com:3128",
            "proxy",
            "http://[::1]:3128",
            "http://10.0.0.1:3128",
            "",
        ] {
            assert_eq!(check(&[("HTTPS_PROXY", value)]), Ok(()), "{value:?}");
        }
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn of_two_that_differ_in_their_letters_the_one_that_is_used_counts() {
        let (good, bad) = ("http://proxy.example.com:3128", "http://");
        assert_eq!(
            check(&[("HTTPS_PROXY", good), ("https_proxy", bad)]),
            Ok(())
        );
        let refused = check(&[("HTTPS_PROXY", bad), ("https_proxy", good)]);
        assert_eq!(refused, Err(UnusableProxy("HTTPS_PROXY")));
        assert_eq!(check(&[("NO_PROXY", bad)]), Ok(()));
    }
}
