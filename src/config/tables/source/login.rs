//! The login in a repository's URL.

/// Parts a repository's URL: the URL without its login, the user, the password.
///
/// Decodes percent-encoding in user and password.
pub(super) fn parted(url: &str) -> (String, Option<String>, Option<String>) {
    let web = ["https://", "http://"].iter().find_map(|scheme| Some((*scheme, url.strip_prefix(scheme)?)));
    let Some((scheme, rest)) = web else { return (url.to_owned(), None, None) };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some((login, host)) = rest[..end].rsplit_once('@') else { return (url.to_owned(), None, None) };
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password))),
        None => (login, None),
    };
    (format!("{scheme}{host}{}", &rest[end..]), Some(decoded(user)), password)
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_of_a_url() {
        let all = |url| {
            let (url, user, password) = parted(url);
            (url, user.unwrap_or_default(), password.unwrap_or_default())
        };
        let expect = |url: &str, user: &str, password: &str| (url.to_owned(), user.to_owned(), password.to_owned());
        assert_eq!(all("https://h/x.git"), expect("https://h/x.git", "", ""));
        assert_eq!(all("https://me:p%40ss@h:8443/x@y.git"), expect("https://h:8443/x@y.git", "me", "p@ss"));
        assert_eq!(all("https://token@h"), expect("https://h", "token", ""));
        assert_eq!(all("https://a:%zz%@h/"), expect("https://h/", "a", "%zz%"));
        assert_eq!(all("git@h:x.git"), expect("git@h:x.git", "", ""));
        assert_eq!(all("ssh://git@h/x.git"), expect("ssh://git@h/x.git", "", ""));
    }
}
