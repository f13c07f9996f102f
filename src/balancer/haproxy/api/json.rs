//! The JSON of dataplaneapi's own specification (models `runtime_server`, `native_stats`).

use serde::Deserialize;

/// The answer of one process of HAProxy (v3), or of several (v2).
#[derive(Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// Returns all of them.
    pub fn all(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// `runtime_server`. Before 3.3 it has the first three fields only.
#[derive(Deserialize)]
pub struct RuntimeServer {
    pub name: String,
    #[serde(default)]
    pub admin_state: String,
    #[serde(default)]
    pub operational_state: String,
    #[serde(default)]
    pub address: Option<String>,
    #[serde(default)]
    pub port: Option<i64>,
    pub check_state: Option<u32>,
    pub agent_state: Option<u32>,
}

/// `native_stats`.
#[derive(Deserialize)]
pub struct NativeStats {
    #[serde(default)]
    pub error: String,
    pub stats: Option<Vec<NativeStat>>,
}

/// One row of `native_stats`.
#[derive(Deserialize)]
pub struct NativeStat {
    pub name: Option<String>,
    pub backend_name: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: String,
    pub stats: Option<Counters>,
}

/// `native_stat_stats`: the columns of `show stat`; empty ones are left out.
#[derive(Deserialize, Default)]
pub struct Counters {
    pub status: Option<String>,
    pub addr: Option<String>,
    pub scur: Option<u64>,
    pub qcur: Option<u64>,
    pub stot: Option<u64>,
    pub bck: Option<u64>,
    pub weight: Option<u32>,
    pub lastchg: Option<u64>,
    pub tracked: Option<String>,
    pub check_status: Option<String>,
    pub check_code: Option<i64>,
    pub last_chk: Option<String>,
    pub check_rise: Option<u64>,
    pub check_fall: Option<u64>,
    pub check_health: Option<u64>,
    pub agent_status: Option<String>,
}
