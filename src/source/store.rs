//! Links to objects of S3-compatible stores: signed here, used by whoever downloads.
//!
//! Credentials come from the environment, as AWS's own tools read it; nothing is asked of the store.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::signer::Signer as _;

use super::SourceError;
use crate::config::source::Download;

/// How long a link is good: for the longest of walks, and not for the next day.
const GOOD_FOR: Duration = Duration::from_secs(12 * 3600);

/// Nobody is asked for credentials over the network.
#[derive(Debug)]
struct Nobody;

impl HttpConnector for Nobody {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let source = "credentials are read from the environment alone".into();
        Err(object_store::Error::NotSupported { source })
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
    let store = Arc::new(builder.build().map_err(|e| failed(e.to_string()))?);
    // With static credentials nothing of it waits.
    let signed = futures::executor::block_on(store.signed_url(http(), &path, GOOD_FOR));
    signed.map(String::from).map_err(|e| failed(e.to_string()))
}

fn http() -> hyper::Method {
    hyper::Method::GET
}
