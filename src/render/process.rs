//! Kernel settings of the renderer as a child of the edge: its death signal and its priority.

use std::io;
use std::os::unix::process::parent_id;

use rustix::process::{Signal, nice, set_parent_process_death_signal};

use crate::log::warn;
use crate::wire;

/// Relative to the edge (nice(2)). With a difference of 10 the renderer gets about a tenth of a contended processor, so
/// a cache hit does not wait for decoders.
const NICENESS: i32 = 10;

/// Makes the kernel kill this process when the edge exits, even if it can't read its standard input at that time.
///
/// The signal is sent when the parent *thread* ends (PR_SET_PDEATHSIG(2const)), so the edge starts every renderer from
/// a thread that outlives it. A change of user clears the setting, so it must come first.
pub fn exit_with_edge() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The edge may have exited before that.
    match std::env::var(wire::EDGE_VARIABLE) {
        Ok(edge) if is_parent(&edge) => Ok(()),
        Ok(_) => Err(io::Error::other("the edge that started this renderer has exited")),
        // Started by hand.
        Err(_) => Ok(()),
    }
}

fn is_parent(id: &str) -> bool {
    id.parse() == Ok(parent_id())
}

/// Must come before the first thread is started, because threads inherit the priority.
pub fn lower_priority() {
    if let Err(error) = nice(NICENESS) {
        warn!("priority_unchanged", "can't lower the renderer's priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_parent_compares_process_ids() {
        assert!(is_parent(&parent_id().to_string()));
        for other in
            [std::process::id().to_string(), "0".into(), "-1".into(), String::new(), "x".into()]
        {
            assert!(!is_parent(&other), "{other:?}");
        }
    }
}
