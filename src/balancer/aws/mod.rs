//! The way to AWS: credentials, region, retries, limits, and what its refusals mean.
//!
//! Knows nothing of target groups: [`super::elb`] and [`super::elb_classic`] do.

pub mod identity;

use std::error::Error;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_elasticloadbalancingv2::config::SharedHttpClient;
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};

use super::BalancerError;
use crate::config::Aws;

/// How often a call is made before it fails. All who use an account share its allowance, and the usual 3 are soon used up.
const ATTEMPTS: u32 = 8;
/// The longest pause between two of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(5);
/// Limit on one attempt.
const ATTEMPT: Duration = Duration::from_secs(15);
/// Limit on a call with all its attempts.
pub const CALL: Duration = Duration::from_secs(60);

/// Where calls go and in whose name.
#[derive(Debug, Clone)]
pub enum Access {
    /// AWS's own settings (environment, profiles, single sign-on, web identity, containers, instances), as far as the
    /// file does not say otherwise.
    Usual {
        /// `region`.
        region: Option<String>,
        /// `profile`.
        profile: Option<String>,
    },
    /// A test's responder on this machine, with made-up credentials.
    #[cfg(test)]
    Responder(String),
}

impl Access {
    /// Makes it of what the file says.
    pub fn new(aws: &Aws) -> Self {
        Self::Usual { region: aws.region.clone(), profile: aws.profile.clone() }
    }

    /// Loads the settings; `region` counts where the file names none. Credentials are only asked for by the first call.
    ///
    /// # Errors
    /// When there is no region, or the proxy cannot be understood.
    pub async fn load(&self, at: &str, region: Option<&str>) -> Result<SdkConfig, BalancerError> {
        let http = http_client().map_err(|detail| error(at, None, detail, "correct HTTPS_PROXY"))?;
        let retry = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_max_backoff(LONGEST_PAUSE);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(CALL)
            .build();
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).timeout_config(timeouts);
        let loaded = match self {
            Self::Usual { region: written, profile } => {
                let mut loader = loader.retry_config(retry);
                if let Some(region) = written.as_deref().or(region) {
                    loader = loader.region(Region::new(region.to_owned()));
                }
                if let Some(profile) = profile {
                    // What the file names must win over variables that happen to be set, as with `aws --profile`.
                    let around = ProviderConfig::default()
                        .with_http_client(http)
                        .with_region(written.as_deref().or(region).map(|r| Region::new(r.to_owned())));
                    let inner =
                        ProfileFileCredentialsProvider::builder().configure(&around).profile_name(profile).build();
                    let credentials = OfProfile { name: profile.clone(), inner };
                    loader = loader.profile_name(profile).credentials_provider(credentials);
                }
                loader.load().await
            }
            #[cfg(test)]
            Self::Responder(endpoint) => {
                tests::must_be_loopback(endpoint);
                let retry = retry.with_initial_backoff(Duration::from_millis(5));
                let region = Region::new(region.unwrap_or("us-east-1").to_owned());
                let loader = loader.empty_test_environment().retry_config(retry).region(region);
                let credentials = aws_credential_types::Credentials::new("AKIDTEST", "secret", None, None, "test");
                loader.credentials_provider(credentials).endpoint_url(endpoint).load().await
            }
        };
        if loaded.region().is_none() {
            let hint = "write `region = \"eu-west-1\"` in [load_balancer], or set AWS_REGION";
            return Err(error(at, None, "no region is set".to_owned(), hint));
        }
        Ok(loaded)
    }
}

/// Credentials of a profile that the file names.
#[derive(Debug)]
struct OfProfile {
    name: String,
    inner: ProfileFileCredentialsProvider,
}

impl ProvideCredentials for OfProfile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.inner.provide_credentials().await.map_err(|error| match error {
                // The provider itself does not say whose they would have been.
                CredentialsError::CredentialsNotLoaded(_) => {
                    CredentialsError::not_loaded(format!("there is no profile {:?}, or it holds none", self.name))
                }
                other => other,
            })
        })
    }
}

/// Makes a client of the same cryptography as SSH's; only what leaves the network goes through a proxy.
fn http_client() -> Result<SharedHttpClient, String> {
    let set = |names: &[&str]| names.iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    let proxy = match set(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) {
        Some(address) => {
            let made = ProxyConfig::https(address.as_str());
            // The address may hold a password.
            let proxy = made.map_err(|_| "HTTPS_PROXY is no address of a proxy".to_owned())?;
            proxy.no_proxy(set(&["NO_PROXY", "no_proxy"]).unwrap_or_default())
        }
        None => ProxyConfig::disabled(),
    };
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build()
    }))
}

/// Makes an error.
pub fn error(at: &str, member: Option<String>, detail: String, hint: &str) -> BalancerError {
    BalancerError { at: at.to_owned(), member, detail, hint: hint.to_owned(), ..BalancerError::default() }
}

/// Tells the code of AWS's refusal, where it is one.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}

/// What was asked for, as errors say it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The balancer.
    pub at: &'a str,
    /// `group/server`, or the group.
    pub member: Option<String>,
    /// The action as policies name it, without its prefix.
    pub action: &'a str,
}

impl Asked<'_> {
    /// Says what a failure means and what to do about it.
    pub fn failed<E>(&self, failure: SdkError<E>) -> BalancerError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (action, member) = (self.action, self.member.clone());
        if let Some(why) = credentials(&failure) {
            let detail = format!("{action} needs credentials, and there are none: {why}");
            let hint = "set AWS_PROFILE or `profile` in [load_balancer]; `aws sso login` renews a single sign-on";
            return error(self.at, member, detail, hint);
        }
        let Some(refusal) = failure.as_service_error() else {
            let unreachable = matches!(
                failure,
                SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_)
            );
            let detail = format!("{action} got no answer: {}", causes(&failure));
            let hint = "can this machine reach AWS? HTTPS_PROXY is heeded";
            return BalancerError { unreachable, ..error(self.at, member, detail, hint) };
        };
        let code = refusal.code().unwrap_or("without a code");
        let message = refusal.message().unwrap_or("it says no more");
        let status = failure.raw_response().map_or(0, |r| r.status().as_u16());
        let (unreachable, hint) = match code {
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
                (false, format!("allow elasticloadbalancing:{action} in the policy of whoever deploys"))
            }
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                (false, "get new credentials, with `aws sso login` for example; is the clock right?".to_owned())
            }
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "AuthFailure"
            | "MissingAuthenticationToken" => (false, "correct the AWS credentials that this machine uses".to_owned()),
            "OptInRequired" | "SubscriptionRequiredException" => {
                (false, "the account may not use this service".to_owned())
            }
            "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException" => (
                true,
                format!("it was asked {ATTEMPTS} times; what else uses up the account's allowance in this region?"),
            ),
            "HealthUnavailable" | "InternalFailure" | "InternalError" | "ServiceUnavailable" => (true, String::new()),
            _ => (status >= 500, String::new()),
        };
        let detail = format!("{action} was refused: {message} ({code})");
        BalancerError { unreachable, ..error(self.at, member, detail, &hint) }
    }
}

/// Finds why there are no credentials, where that is what failed.
fn credentials(failure: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(failure);
    while let Some(cause) = next {
        if cause.downcast_ref::<CredentialsError>().is_some() {
            return Some(causes(cause));
        }
        next = cause.source();
    }
    None
}

/// Names an error's causes, each once.
fn causes(failure: &(dyn Error + 'static)) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut next = Some(failure);
    while let Some(cause) = next {
        let text = cause.to_string();
        // "The credential provider was not enabled" says nothing to whoever has none.
        let hollow =
            matches!(cause.downcast_ref(), Some(CredentialsError::CredentialsNotLoaded(_))) && cause.source().is_some();
        if !hollow && !told.iter().any(|t| t.contains(&text)) {
            told.push(text);
        }
        next = cause.source();
    }
    told.join(": ")
}

/// Runs a health checker's figures into the seconds that it takes at least to find a member healthy.
pub fn checks(interval: i32, threshold: i32) -> u64 {
    u64::try_from(interval).unwrap_or_default().saturating_mul(u64::try_from(threshold).unwrap_or_default())
}

#[cfg(test)]
pub mod tests;
