//! What the renderer asks of the kernel as the edge's child.

use std::io;
use std::os::unix::process::parent_id;

use rustix::process::{Signal, nice, set_parent_process_death_signal};

use crate::log::warn;
use crate::wire;

/// How much the renderer steps back behind the edge: while every processor decodes, a cache hit still gets one at
/// once. A difference of 10 is about a tenth of the time where both want all of it.
const NICENESS: i32 = 10;

/// Makes the kernel end this process when the edge is gone, also where it can't read its standard input any more.
///
/// The kernel means the thread that started us, which is why the edge starts every renderer from a thread that
/// outlives it; and it forgets the wish when this process changes its user, so that has to come before.
pub fn end_with_edge() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The edge may have ended before that.
    match std::env::var(wire::EDGE_VARIABLE) {
        Ok(edge) if is_parent(&edge) => Ok(()),
        Ok(_) => Err(io::Error::other("the edge that started this renderer is gone")),
        // Started by hand.
        Err(_) => Ok(()),
    }
}

fn is_parent(id: &str) -> bool {
    id.parse() == Ok(parent_id())
}

/// Lets the edge go first. Threads inherit this, so it has to come before any is started.
pub fn yield_to_edge() {
    if let Err(error) = nice(NICENESS) {
        warn!("priority_unchanged", "can't lower the renderer's priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_started_us_is_our_parent() {
        assert!(is_parent(&parent_id().to_string()));
        for other in
            [std::process::id().to_string(), "0".into(), "-1".into(), String::new(), "x".into()]
        {
            assert!(!is_parent(&other), "{other:?}");
        }
    }
}
