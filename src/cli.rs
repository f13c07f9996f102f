//! The command line. Doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Deploys an application over SSH to servers that carry no agent:
/// to all of them at once, or one at a time out of the load balancer.
#[derive(Debug, Parser)]
#[command(name = "pitcrew", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What all verbs share.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Writes a commented pitcrew.toml.
    Init {
        /// The web server: a template's name (unicorn, puma, passenger, …).
        #[arg(default_value = "unicorn")]
        web_server: String,
    },
    /// Connects everywhere and reports everything that would make a deploy fail, all at once.
    Check {
        /// Which servers.
        #[command(flatten)]
        select: Select,
    },
    /// Deploys a release.
    Deploy(Deploy),
    /// Returns to the last good release that all servers hold, or to RELEASE.
    Rollback(Rollback),
    /// Shows where every server stands: release, processes, health, balancer, lock, disk. Exit code 3 on drift.
    Status {
        /// Which servers.
        #[command(flatten)]
        select: Select,
    },
    /// Lists who deployed what when, from the servers themselves.
    Releases {
        /// Which servers.
        #[command(flatten)]
        select: Select,
    },
    /// Takes back what a dead run had in flight, puts back what is proven good, and releases its lock.
    Recover {
        /// Takes the lock over even when its holder may be alive.
        #[arg(long)]
        force: bool,
    },
    /// Freezes deploys, with a reason and perhaps an end.
    Lock(Lock),
    /// Ends a freeze, or removes the lock that a dead or stuck run left behind.
    Unlock {
        /// Removes it even when its holder may be at work, or has changed something that `recover` would take back.
        #[arg(long)]
        force: bool,
        /// The run that holds the lock, as the refusal showed it.
        run: Option<String>,
        /// Which servers.
        #[command(flatten)]
        select: Select,
    },
    /// The load balancer by hand.
    #[command(subcommand)]
    Lb(Lb),
    #[cfg(feature = "demo")]
    /// Shows a whole fleet on this machine, deployed to under traffic.
    Demo(Demo),
}

/// `pitcrew lb`.
#[derive(Debug, Clone, Subcommand)]
pub enum Lb {
    /// Shows every member: its state, health, connections, since when, and who took it out. Exit code 3 when one is out.
    Status {
        /// Which servers.
        #[command(flatten)]
        select: Select,
    },
    /// Takes servers out, one after another, waits for their connections to end, and notes on them who did it.
    Drain {
        /// Which: a server, a range, a pattern, or @ROLE.
        #[arg(required = true, value_name = "SERVER|@ROLE")]
        servers: Vec<String>,
        /// Why; whoever finds them out reads it.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Puts servers back whose own health check passes, and waits until the balancer reports them up.
    Restore {
        /// Which: a server, a range, a pattern, or @ROLE.
        #[arg(required = true, value_name = "SERVER|@ROLE")]
        servers: Vec<String>,
        /// Puts them back without asking them for their health.
        #[arg(long)]
        force: bool,
    },
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

/// How to walk the servers in this one run.
#[derive(Debug, Clone, Default, Args)]
pub struct Walk {
    /// One server at a time, each out of the load balancer first.
    #[arg(long, conflicts_with_all = ["parallel", "rolling"])]
    pub serial: bool,
    /// All servers at once; the load balancer is not touched.
    #[arg(long, conflicts_with = "rolling")]
    pub parallel: bool,
    /// In batches: 2, 25%, or a ramp 1,25%,100%.
    #[arg(long, value_name = "BATCH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub rolling: Option<String>,
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

/// `pitcrew deploy`.
#[derive(Debug, Clone, Args)]
pub struct Deploy {
    /// Branch, tag or SHA to deploy instead of the file's `ref`.
    #[arg(value_name = "REF")]
    pub reference: Option<String>,
    /// How to walk.
    #[command(flatten)]
    pub walk: Walk,
    /// Which servers.
    #[command(flatten)]
    pub select: Select,
    /// Runs the migrations even where the file says `when = "asked"`.
    #[arg(long, conflicts_with = "no_migrate")]
    pub migrate: bool,
    /// Runs no migrations.
    #[arg(long)]
    pub no_migrate: bool,
    /// Transfers and builds on all servers before the first is drained.
    #[arg(long)]
    pub prepare_ahead: bool,
    /// Does nothing when all servers are on that revision already.
    #[arg(long)]
    pub if_changed: bool,
}

/// `pitcrew rollback`.
#[derive(Debug, Clone, Args)]
pub struct Rollback {
    /// The release to return to, as `pitcrew releases` lists it.
    pub release: Option<String>,
    /// How to walk.
    #[command(flatten)]
    pub walk: Walk,
    /// Which servers.
    #[command(flatten)]
    pub select: Select,
}

/// `pitcrew lock`.
#[derive(Debug, Clone, Args)]
pub struct Lock {
    /// Why; whoever deploys meanwhile reads it.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// For how long or until when: 2h, 18:00, 2026-12-24, "2026-12-24 18:00"; without it until `pitcrew unlock`.
    #[arg(long, value_name = "TIME|DURATION")]
    pub until: Option<String>,
    /// Waits so long for a run that is at work, e.g. 10m.
    #[arg(long, value_name = "DURATION")]
    pub wait_lock: Option<String>,
    /// Goes on without servers that cannot be reached, lists them, and exits with 3.
    #[arg(long)]
    pub skip_unreachable: bool,
}

#[cfg(feature = "demo")]
/// `pitcrew demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// How many servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    pub servers: u8,
}
