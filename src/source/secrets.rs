//! Values of `[secrets]` that a source names.

use super::error::sum::SettingError;

/// Finds the value of a secret.
///
/// # Errors
/// When there is none of that name.
pub(super) fn value(secrets: &[(String, String)], name: &str) -> Result<String, SettingError> {
    let found = secrets.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    found.ok_or_else(|| SettingError::NoSecret(name.to_owned()))
}
