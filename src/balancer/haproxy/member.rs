//! One server of one backend as HAProxy reports it, and what its states mean.
//!
//! Pure. The bits are those of `show servers state` (HAProxy Management Guide), where they are printed in decimal.

use crate::balancer::facts::{Admin, MemberFacts};

/// Bits of `srv_admin_state`.
///
/// CMAINT (4, `disabled` in the configuration) is not here since alone it means nothing: FMAINT comes with it, and only
/// FMAINT goes at `ready`.
pub mod bits {
    /// Set to maint by the socket.
    pub const FMAINT: u32 = 1;
    /// In maint since the server it tracks is.
    pub const IMAINT: u32 = 2;
    /// Set to drain by the socket.
    pub const FDRAIN: u32 = 8;
    /// In drain since the server it tracks is.
    pub const IDRAIN: u32 = 16;
    /// In maint since its name does not resolve.
    pub const RMAINT: u32 = 32;
    /// In maint since its host name was set by the socket.
    pub const HMAINT: u32 = 64;
}

/// A server of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendMember {
    /// Its name.
    pub name: String,
    /// `srv_addr`, as HAProxy prints it; empty where it does not tell.
    pub address: String,
    /// `srv_port`, where it tells.
    pub port: Option<u16>,
    /// `srv_admin_state`.
    pub bits: u32,
    /// `srv_op_state`: 0 stopped, 1 starting (slowstart), 2 running, 3 stopping.
    pub op_state: u32,
    /// `srv_uweight`; 0 gets no new traffic.
    pub weight: u32,
    /// `srv_check_state`: 1 in progress, 2 configured, 4 enabled, 8 paused.
    pub check_state: u32,
    /// `srv_agent_state`, the same bits.
    pub agent_state: u32,
    /// `status`, for people and for the last word on being up.
    pub status: String,
    /// Its sessions and queued requests (`scur` + `qcur`).
    ///
    /// Idle keep-alive clients count 0, upgraded connections 1.
    pub sessions: u64,
    /// `stot`: sessions since the balancer began, where it tells.
    pub total: Option<u64>,
    /// It is a backup server.
    pub backup: bool,
    /// `lastchg`: seconds since its status changed last.
    pub since: Option<u64>,
    /// `throttle`: percent of its share while it starts slowly.
    pub throttle: Option<u64>,
    /// `check_status`; starts with `* ` while a check is running.
    pub check_status: String,
    /// `check_code` and `last_chk`, for people.
    pub check_detail: String,
    /// The columns after its check's text ran into it, and are left out.
    pub misread: bool,
    /// `check_rise`; empty in maint.
    pub rise: Option<u64>,
    /// `check_fall`; empty in maint.
    pub fall: Option<u64>,
    /// `check_health`; empty in maint.
    pub health: Option<u64>,
}

impl BackendMember {
    /// Reads its administrative state from its bits.
    ///
    /// Its `status` would not do: a drained server that fails its checks is shown as `DOWN`.
    pub fn admin(&self) -> Admin {
        if self.bits & (bits::FMAINT | bits::IMAINT | bits::RMAINT | bits::HMAINT) != 0 {
            Admin::Maint
        } else if self.bits & (bits::FDRAIN | bits::IDRAIN) != 0 {
            Admin::Drain
        } else {
            Admin::Ready
        }
    }

    /// Tells whether the socket set it to maint, or the configuration did.
    pub fn set_maint(&self) -> bool {
        self.bits & bits::FMAINT != 0
    }

    /// Tells whether the socket set it to drain.
    pub fn set_drain(&self) -> bool {
        self.bits & bits::FDRAIN != 0
    }

    /// Tells whether something is holding it out that `set server … state ready` does not end.
    pub fn held_out(&self) -> bool {
        self.bits & (bits::IMAINT | bits::IDRAIN | bits::RMAINT | bits::HMAINT) != 0
    }

    /// Tells whether what holds it out may pass: the server it tracks is out.
    pub fn inherits(&self) -> bool {
        self.bits & (bits::IMAINT | bits::IDRAIN) != 0 && self.bits & (bits::RMAINT | bits::HMAINT) == 0
    }

    /// Tells whether it receives traffic: ready, running (or in slowstart) and with a weight.
    pub fn in_service(&self) -> bool {
        self.admin() == Admin::Ready && matches!(self.op_state, 1 | 2) && self.weight > 0
    }

    /// Tells whether it is a slot of a `server-template` that no server fills.
    pub fn is_empty_slot(&self) -> bool {
        let nowhere = matches!(self.address.as_str(), "-" | "0.0.0.0" | "::");
        self.bits & bits::RMAINT != 0 || (nowhere && self.admin() == Admin::Maint)
    }

    /// Tells whether it starts slowly (`slowstart`): it takes less than its share yet.
    pub fn is_starting(&self) -> bool {
        self.op_state == 1
    }

    /// Tells whether the balancer checks its health.
    pub fn checked(&self) -> bool {
        self.check_state & 6 == 6
    }

    /// Tells whether its agent is asked, and obeyed.
    pub fn agent_enabled(&self) -> bool {
        self.agent_state & 6 == 6
    }

    /// Tells whether it has an agent that is disabled.
    pub fn agent_disabled(&self) -> bool {
        self.agent_state & 6 == 2
    }

    /// Tells whether it is drained and has passed a check since it left maint.
    ///
    /// Leaving maint starts the counter at `rise` with the check columns as they were; a passed check then takes it to
    /// `rise + fall - 1` at once. With `fall` 1 the two are the same number, so the caller must first set the health
    /// down. A check in progress does not matter: the counter only tells of ended ones.
    pub fn full_health(&self) -> bool {
        let (Some(rise), Some(fall), Some(health)) = (self.rise, self.fall, self.health) else { return false };
        let status = self.check_status.strip_prefix("* ").unwrap_or(&self.check_status);
        self.status == "DRAIN" && status.ends_with("OK") && health >= rise.saturating_add(fall).saturating_sub(1)
    }

    /// Tells whether it is back: ready and fully up, not on its way down (`UP 1/3`).
    pub fn is_back(&self) -> bool {
        // A server of weight 0 may be shown as draining however well it is.
        let up = matches!(self.status.as_str(), "UP" | "no check") || (self.weight == 0 && self.full_health());
        self.admin() == Admin::Ready && up
    }

    /// Says for people how it stands: `DOWN 1/2, last check L7STS 500`.
    pub fn standing(&self) -> String {
        if self.check_status.is_empty() {
            return self.status.clone();
        }
        let text = format!("{}, last check {} {}", self.status, self.check_status, self.check_detail);
        text.trim_end().to_owned()
    }
}

/// What to put a member back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundAs {
    /// It took traffic, or would have once healthy.
    Ready,
    /// An operator had set it to drain.
    Drain,
    /// An operator had set it to maint.
    Maint,
    /// Something else held it out: a tracked server, the resolution of its name.
    Held,
}

/// Tells what a member was found as.
pub fn origin(found: &MemberFacts) -> FoundAs {
    match found.admin {
        Admin::Ready => FoundAs::Ready,
        // Without bits it comes from something that does not know them: it was set.
        Admin::Drain if found.bits == 0 || found.bits & bits::FDRAIN != 0 => FoundAs::Drain,
        Admin::Maint if found.bits == 0 || found.bits & bits::FMAINT != 0 => FoundAs::Maint,
        Admin::Drain | Admin::Maint => FoundAs::Held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(bits: u32, status: &str) -> BackendMember {
        BackendMember { bits, status: status.into(), op_state: 2, weight: 1, ..BackendMember::default() }
    }

    #[test]
    fn bits_tell_the_administrative_state() {
        for (bits, admin) in [
            (0, Admin::Ready),
            (4, Admin::Ready),
            (1, Admin::Maint),
            (5, Admin::Maint),
            (2, Admin::Maint),
            (32, Admin::Maint),
            (64, Admin::Maint),
            (9, Admin::Maint),
            (8, Admin::Drain),
            (16, Admin::Drain),
        ] {
            assert_eq!(member(bits, "").admin(), admin, "{bits}");
        }
        assert!(member(4, "UP").in_service(), "enabled at run time although `disabled` in the file");
    }

    #[test]
    fn only_running_weighted_ready_servers_are_in_service() {
        assert!(member(0, "UP").in_service());
        assert!(BackendMember { op_state: 1, ..member(0, "UP") }.in_service(), "slowstart");
        assert!(!BackendMember { op_state: 0, ..member(0, "DOWN") }.in_service());
        assert!(!BackendMember { op_state: 3, ..member(0, "NOLB") }.in_service());
        assert!(!BackendMember { weight: 0, ..member(0, "DRAIN") }.in_service());
        assert!(!member(8, "DRAIN").in_service());
    }

    #[test]
    fn full_health_needs_a_check_after_maint() {
        let fresh = BackendMember {
            check_status: "L7OK".into(),
            rise: Some(2),
            fall: Some(3),
            health: Some(4),
            ..member(8, "DRAIN")
        };
        assert!(fresh.full_health());
        assert!(BackendMember { check_status: "* L7OK".into(), ..fresh.clone() }.full_health());
        for stale in [
            BackendMember { health: Some(2), ..fresh.clone() },
            BackendMember { status: "DRAIN 1/3".into(), ..fresh.clone() },
            BackendMember { status: "DOWN 1/2".into(), ..fresh.clone() },
            BackendMember { check_status: "L7STS".into(), ..fresh.clone() },
            BackendMember { check_status: "L7OKC".into(), ..fresh.clone() },
            BackendMember { health: None, ..fresh.clone() },
        ] {
            assert!(!stale.full_health(), "{stale:?}");
        }
    }

    #[test]
    fn back_is_exactly_up() {
        assert!(member(0, "UP").is_back());
        assert!(member(0, "no check").is_back());
        for status in ["UP 1/3", "DOWN", "DOWN 1/2", "NOLB", "MAINT", "DRAIN", "DOWN (agent)"] {
            assert!(!member(0, status).is_back(), "{status}");
        }
        let weightless = BackendMember {
            weight: 0,
            check_status: "L7OK".into(),
            rise: Some(2),
            fall: Some(3),
            health: Some(4),
            ..member(0, "DRAIN")
        };
        assert!(weightless.is_back() && !BackendMember { health: Some(2), ..weightless }.is_back());
        assert!(!member(8, "no check").is_back(), "an unchecked server is shown so in drain too");
    }
}
