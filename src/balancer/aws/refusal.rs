//! What AWS's refusals mean, and what to do about them.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};

use super::times::ATTEMPTS;
use crate::balancer::error::{BalancerError, BalancerErrorKind as Kind, BalancerFault};

/// Returns the code of AWS's refusal, where the error is one.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}

/// A call to AWS, as errors name it.
#[derive(Debug, Clone)]
pub struct AwsCall<'a> {
    /// The balancer.
    pub at: &'a str,
    /// `group/server`, or the group.
    pub member: Option<String>,
    /// The action as policies name it, without its prefix.
    pub action: &'static str,
}

/// Why a call to AWS failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwsFault {
    /// No region is set.
    NoRegion,
    /// `HTTPS_PROXY` is no address of a proxy; it may hold a password, and is not shown.
    Proxy,
    /// The action needs credentials, and there are none.
    NoCredentials {
        /// The action.
        action: &'static str,
        /// Why there are none.
        why: String,
    },
    /// No answer came.
    NoAnswer {
        /// The action.
        action: &'static str,
        /// The causes, outermost first.
        why: String,
        /// The network or AWS did not let the call through; otherwise it could not even be made.
        sent: bool,
    },
    /// AWS refused the action.
    Refused {
        /// The action.
        action: &'static str,
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
        /// The status of AWS's answer.
        status: u16,
        /// What to do where the action has advice of its own for this code.
        advice: Option<&'static str>,
    },
}

impl AwsCall<'_> {
    /// Makes an error of a failure.
    pub fn failed<E>(&self, failure: SdkError<E>) -> BalancerError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.failed_or(failure, &[])
    }

    /// Makes an error of a failure, with `advice` by code.
    ///
    /// Advice replaces the general hint where a code has a meaning of its own for the action.
    pub fn failed_or<E>(&self, failure: SdkError<E>, advice: &[(&str, &'static str)]) -> BalancerError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        BalancerError::new(self.at, self.member.clone(), self.fault(&failure, advice))
    }

    fn fault<E>(&self, failure: &SdkError<E>, advice: &[(&str, &'static str)]) -> AwsFault
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let action = self.action;
        if let Some(why) = credentials(failure) {
            return AwsFault::NoCredentials { action, why };
        }
        let Some(refusal) = failure.as_service_error() else {
            let sent = matches!(
                failure,
                SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_)
            );
            return AwsFault::NoAnswer { action, why: causes(failure), sent };
        };
        let code = refusal.code().unwrap_or("without a code");
        AwsFault::Refused {
            action,
            code: code.to_owned(),
            message: refusal.message().unwrap_or("it says no more").to_owned(),
            status: failure.raw_response().map_or(0, |r| r.status().as_u16()),
            advice: advice.iter().find(|(own, _)| *own == code).map(|(_, hint)| *hint),
        }
    }
}

impl Error for AwsFault {}

impl fmt::Display for AwsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRegion => write!(f, "no region is set"),
            Self::Proxy => write!(f, "HTTPS_PROXY is no address of a proxy"),
            Self::NoCredentials { action, why } => write!(f, "{action} needs credentials, and there are none: {why}"),
            Self::NoAnswer { action, why, .. } => write!(f, "{action} got no answer: {why}"),
            Self::Refused { action, code, message, .. } => write!(f, "{action} was refused: {message} ({code})"),
        }
    }
}

impl BalancerFault for AwsFault {
    fn kind(&self) -> Kind {
        match self {
            Self::NoAnswer { sent: true, .. } => Kind::Unreachable,
            Self::Refused { code, status, .. } => match Meaning::of(code) {
                Meaning::Throttled | Meaning::Internal => Kind::Unreachable,
                Meaning::Other if *status >= 500 => Kind::Unreachable,
                _ => Kind::Refused,
            },
            _ => Kind::Refused,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoRegion => "write `region = \"eu-west-1\"` in [load_balancer], or set AWS_REGION".to_owned(),
            Self::Proxy => "correct HTTPS_PROXY".to_owned(),
            Self::NoCredentials { .. } => {
                "set AWS_PROFILE or `profile` in [load_balancer]; `aws sso login` renews a single sign-on".to_owned()
            }
            Self::NoAnswer { .. } => "can this machine reach AWS? HTTPS_PROXY is heeded".to_owned(),
            Self::Refused { advice: Some(advice), .. } => (*advice).to_owned(),
            Self::Refused { action, code, .. } => Meaning::of(code).hint(action),
        }
    }
}

/// What a code of AWS's means for the call.
enum Meaning {
    /// The policy does not allow the action.
    Denied,
    /// The credentials are over, or the clock is wrong.
    Expired,
    /// The credentials are wrong.
    BadCredentials,
    /// The account may not use the service.
    NoService,
    /// The account's allowance is used up.
    Throttled,
    /// AWS itself is at fault.
    Internal,
    /// Anything else.
    Other,
}

impl Meaning {
    fn of(code: &str) -> Self {
        match code {
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Self::Denied,
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => Self::Expired,
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "AuthFailure"
            | "MissingAuthenticationToken" => Self::BadCredentials,
            "OptInRequired" | "SubscriptionRequiredException" => Self::NoService,
            "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException" => {
                Self::Throttled
            }
            "HealthUnavailable" | "InternalFailure" | "InternalError" | "ServiceUnavailable" => Self::Internal,
            _ => Self::Other,
        }
    }

    fn hint(&self, action: &str) -> String {
        match self {
            Self::Denied => format!("allow elasticloadbalancing:{action} in the policy of the account that deploys"),
            Self::Expired => "get new credentials, with `aws sso login` for example; is the clock right?".to_owned(),
            Self::BadCredentials => "correct the AWS credentials that this machine uses".to_owned(),
            Self::NoService => "the account may not use this service".to_owned(),
            Self::Throttled => {
                format!("it was asked {ATTEMPTS} times; what else uses up the account's allowance in this region?")
            }
            Self::Internal | Self::Other => String::new(),
        }
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
    let mut named: Vec<String> = Vec::new();
    let mut next = Some(failure);
    while let Some(cause) = next {
        let text = cause.to_string();
        // "The credential provider was not enabled" says nothing to a user without credentials.
        let hollow =
            matches!(cause.downcast_ref(), Some(CredentialsError::CredentialsNotLoaded(_))) && cause.source().is_some();
        if !hollow && !named.iter().any(|n| n.contains(&text)) {
            named.push(text);
        }
        next = cause.source();
    }
    named.join(": ")
}
