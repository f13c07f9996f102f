//! The way to AWS: credentials, region, retries and limits.

#[cfg(test)]
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_elasticloadbalancingv2::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};

use super::refusal::AwsFault;
use super::times::{ATTEMPT, ATTEMPTS, CALL, CONNECT, LONGEST_PAUSE};
use crate::balancer::error::BalancerError;
use crate::config::Aws;
use crate::process::machine::variable;

/// Where calls go, and by which credentials.
#[derive(Debug, Clone)]
pub enum Access {
    /// AWS's own settings, as far as the file does not say otherwise.
    ///
    /// They come from the environment, profiles, single sign-on, web identity, containers and instances.
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
    /// Takes the settings from the file.
    pub fn new(aws: &Aws) -> Self {
        Self::Usual { region: aws.region.clone(), profile: aws.profile.clone() }
    }

    /// Loads the settings; `region` counts where the file names none.
    ///
    /// Credentials are asked for by the first call only.
    ///
    /// # Errors
    /// When there is no region, or the proxy cannot be understood.
    pub async fn load(&self, at: &str, region: Option<&str>) -> Result<SdkConfig, BalancerError> {
        let http = http_client().map_err(|fault| BalancerError::new(at, None, fault))?;
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
                super::tests::must_be_loopback(endpoint);
                let retry = retry.with_initial_backoff(Duration::from_millis(5));
                let region = Region::new(region.unwrap_or("us-east-1").to_owned());
                let loader = loader.empty_test_environment().retry_config(retry).region(region);
                let credentials = aws_credential_types::Credentials::new("AKIDTEST", "secret", None, None, "test");
                loader.credentials_provider(credentials).endpoint_url(endpoint).load().await
            }
        };
        if loaded.region().is_none() {
            return Err(BalancerError::new(at, None, AwsFault::NoRegion));
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
fn http_client() -> Result<SharedHttpClient, AwsFault> {
    let proxy = match variable(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) {
        Some(address) => {
            let proxy = ProxyConfig::https(address.as_str()).map_err(|_| AwsFault::Proxy)?;
            proxy.no_proxy(variable(&["NO_PROXY", "no_proxy"]).unwrap_or_default())
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
