//! Links to objects of S3-compatible stores: signed here, used by the servers or by this machine.
//!
//! Credentials come from the environment, as AWS's own tools read it; nothing is asked of the store.

use std::collections::BTreeMap;
use std::time::Duration;

use rusty_s3::actions::S3Action as _;
use rusty_s3::{Bucket, Credentials, UrlStyle};

use super::error::SourceError;
use super::error::sum::{SettingError, SigningFault};
use crate::config::source::Download;

/// Time for which a link is good: the longest of walks, and not the next day.
const GOOD_FOR: Duration = Duration::from_secs(12 * 3600);
/// The region where none is named.
const REGION: &str = "us-east-1";

/// Signs a link to `s3://BUCKET/KEY`. `variables` is this machine's environment.
///
/// # Errors
/// When there are no credentials, or the key or the endpoint cannot be part of a URL.
pub fn sign(
    url: &str,
    download: &Download,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<String, SourceError> {
    let (name, key) = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).unwrap_or((url, ""));
    let failed = |fault| SettingError::Signing { bucket: name.to_owned(), key: key.to_owned(), fault };
    let variables: BTreeMap<String, String> = variables.filter(|(_, value)| !value.is_empty()).collect();
    let first = |names: &[&str]| names.iter().find_map(|name| variables.get(*name)).cloned();
    let (Some(id), Some(secret)) = (first(&["AWS_ACCESS_KEY_ID"]), first(&["AWS_SECRET_ACCESS_KEY"])) else {
        return Err(failed(SigningFault::NoCredentials).into());
    };
    // A URL would lose these segments, and lead to another object.
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(failed(SigningFault::Key).into());
    }
    let credentials = match first(&["AWS_SESSION_TOKEN", "AWS_TOKEN"]) {
        Some(token) => Credentials::new_with_token(id, secret, token),
        None => Credentials::new(id, secret),
    };
    let region = download.region.clone().or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    let region = region.unwrap_or_else(|| REGION.to_owned());
    let endpoint = download.endpoint.clone();
    let endpoint = endpoint.or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]));
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let bucket = endpoint.parse().ok().and_then(|at| Bucket::new(at, UrlStyle::Path, name.to_owned(), region).ok());
    let bucket = bucket.ok_or_else(|| failed(SigningFault::Endpoint(endpoint)))?;
    Ok(bucket.get_object(Some(&credentials), key).sign(GOOD_FOR).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::{Address, Fetcher, Hidden};

    fn download() -> Download {
        Download {
            from: Address::Written(Hidden("s3://builds/shop/a b.tgz".into())),
            sha256: None,
            by: Fetcher::Servers,
            endpoint: None,
            region: Some("eu-west-1".into()),
        }
    }

    fn signed(variables: &[(&str, &str)], download: &Download) -> Result<String, SourceError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        sign("s3://builds/shop/a.tgz", download, variables)
    }

    #[test]
    fn a_link_is_signed_with_what_the_environment_says_and_holds_no_key() {
        let variables = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")];
        let link = signed(&variables, &download()).unwrap();
        assert!(link.starts_with("https://s3.eu-west-1.amazonaws.com/builds/shop/a.tgz?"), "{link}");
        assert!(link.contains("X-Amz-Signature=") && link.contains("X-Amz-Expires=43200"), "{link}");
        assert!(!link.contains("wJalrXUtnFEMI"), "{link}");
        let own = Download { endpoint: Some("http://127.0.0.1:9".into()), ..download() };
        assert!(signed(&variables, &own).unwrap().starts_with("http://127.0.0.1:9/builds/shop/a.tgz?"));
        let error = signed(&variables[..1], &download()).unwrap_err();
        assert!(error.hint().contains("AWS_SECRET_ACCESS_KEY"), "{error:?}");
    }
}
