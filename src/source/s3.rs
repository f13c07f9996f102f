//! Links to objects of S3-compatible stores: signed here, used by whoever downloads.
//!
//! Credentials come from the environment, as AWS's own tools read it; nothing is asked of the store.

use std::pin::Pin;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::path::Path;
use object_store::signer::Signer as _;

use super::SourceError;
use crate::config::source::Download;

/// How long a link is good: for the longest of walks, and not for the next day.
const GOOD_FOR: Duration = Duration::from_secs(12 * 3600);

/// Nobody is asked for credentials over the network, nor for anything else.
#[derive(Debug)]
struct Nobody;

impl HttpConnector for Nobody {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Self))
    }
}

impl HttpService for Nobody {
    fn call<'a, 'b>(
        &'a self,
        _: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
    {
        let refused = std::io::Error::other("credentials are read from the environment alone");
        Box::pin(std::future::ready(Err(HttpError::new(HttpErrorKind::Connect, refused))))
    }
}

/// Signs a link to `s3://BUCKET/KEY`. `variables` is this machine's environment.
///
/// # Errors
/// When there are no credentials.
pub fn sign(
    url: &str,
    download: &Download,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<String, SourceError> {
    let (bucket, key) = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).unwrap_or((url, ""));
    let mut builder = AmazonS3Builder::new();
    let (mut has_id, mut has_key) = (false, false);
    for (name, value) in variables.filter(|(name, _)| name.starts_with("AWS_")) {
        let Ok(known) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
        has_id |= known == AmazonS3ConfigKey::AccessKeyId && !value.is_empty();
        has_key |= known == AmazonS3ConfigKey::SecretAccessKey && !value.is_empty();
        let wanted = matches!(
            known,
            AmazonS3ConfigKey::AccessKeyId
                | AmazonS3ConfigKey::SecretAccessKey
                | AmazonS3ConfigKey::Token
                | AmazonS3ConfigKey::Region
                | AmazonS3ConfigKey::DefaultRegion
                | AmazonS3ConfigKey::Endpoint
        );
        if wanted && !value.is_empty() {
            builder = builder.with_config(known, value);
        }
    }
    if !has_id || !has_key {
        return Err(SourceError::new(
            format!("cannot sign a link to s3://{bucket}/{key}: there are no credentials in the environment"),
            "Export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where there is one: \
             `aws configure export-credentials --format env` prints them.",
        ));
    }
    builder = builder.with_bucket_name(bucket).with_allow_http(true).with_http_connector(Nobody);
    if let Some(endpoint) = &download.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &download.region {
        builder = builder.with_region(region);
    }
    let failed = |why: String| SourceError::new(format!("cannot sign a link to s3://{bucket}/{key}: {why}"), "");
    let path = Path::parse(key).map_err(|e| failed(e.to_string()))?;
    let store = builder.build().map_err(|e| failed(e.to_string()))?;
    // With static credentials nothing of it waits.
    let signed = futures::executor::block_on(store.signed_url(hyper::Method::GET, &path, GOOD_FOR));
    signed.map(String::from).map_err(|e| failed(e.to_string()))
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
        assert!(error.hint.contains("AWS_SECRET_ACCESS_KEY"), "{error:?}");
    }
}
