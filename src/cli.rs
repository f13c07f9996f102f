//! Flags that several verbs share. Doc comments are the help.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration file.
    #[arg(short, long, global = true, value_name = "FILE", default_value = "pitcrew.toml")]
    pub config: PathBuf,
    /// Lays the file's [profiles.PROFILE] over it.
    #[arg(short, long, global = true, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Prints one JSON object a line on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Prints nothing unless something needs reading.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Prints every line that commands print; with --dry-run, the scripts.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Never asks anything, even on a terminal.
    #[arg(long, global = true)]
    pub no_input: bool,
    /// When to use colour; NO_COLOR is respected.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which servers of the stack.
#[derive(Debug, Clone, Default, Args)]
pub struct Select {
    /// Only these: a server, a range, a pattern, or @ROLE.
    #[arg(long, value_name = "SERVER|@ROLE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// All but these.
    #[arg(long, value_name = "SERVER|@ROLE", value_delimiter = ',')]
    pub except: Vec<String>,
}

/// Which strategy this one run has.
#[derive(Debug, Clone, Default, Args)]
pub struct StrategyFlags {
    /// One server at a time, each out of the load balancer first.
    #[arg(long, conflicts_with_all = ["parallel", "rolling"])]
    pub serial: bool,
    /// All servers at once; the load balancer is not touched.
    #[arg(long, conflicts_with = "rolling")]
    pub parallel: bool,
    /// In batches: 2, 25%, or a ramp 1,25%,100%.
    #[arg(long, value_name = "BATCH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub rolling: Option<String>,
}

/// How to walk the servers in this one run.
#[derive(Debug, Clone, Default, Args)]
pub struct WalkFlags {
    /// Its strategy.
    #[command(flatten)]
    pub strategy: StrategyFlags,
    /// What to do about a failing batch.
    #[arg(long, value_name = "POLICY")]
    pub on_failure: Option<Policy>,
    /// Goes on without servers that cannot be reached, lists them, and exits with 3.
    #[arg(long)]
    pub skip_unreachable: bool,
    /// Waits so long for another run's lock, e.g. 10m; without it a held lock ends the run at once.
    #[arg(long, value_name = "DURATION")]
    pub wait_lock: Option<String>,
    /// Prints the plan that would run, and changes nothing anywhere.
    #[arg(long)]
    pub dry_run: bool,
}

/// `--on-failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// The failing batch returns to its previous release.
    Revert,
    /// The same, then earlier batches, newest first.
    RevertAll,
    /// Nothing is taken back.
    Hold,
}
