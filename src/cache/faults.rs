//! Fault injection: errors that a test plans for the calls of [`super::system`] on its own thread.

use std::cell::RefCell;
use std::io;

use rustix::io::Errno;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Open,
    Create,
    CreateDirectories,
    Metadata,
    Read,
    Write,
    Rename,
    Remove,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The call returns this error and does nothing.
    Error(Errno),
    /// The call writes at most this many bytes and succeeds.
    Short(usize),
}

struct Planned {
    step: Step,
    /// Number of calls that succeed first.
    after: usize,
    fault: Fault,
}

thread_local! {
    static PLAN: RefCell<Vec<Planned>> = const { RefCell::new(Vec::new()) };
}

/// Makes a call fail after `after` calls that succeed, counted from now or from the fault planned before.
pub fn plan(step: Step, after: usize, fault: Fault) {
    PLAN.with_borrow_mut(|plan| plan.push(Planned { step, after, fault }));
}

/// Removes all planned faults and returns how many did not occur.
pub fn clear() -> usize {
    PLAN.with_borrow_mut(|plan| std::mem::take(plan).len())
}

fn next(step: Step) -> Option<Fault> {
    PLAN.with_borrow_mut(|plan| {
        let at = plan.iter().position(|planned| planned.step == step)?;
        match &mut plan[at].after {
            0 => Some(plan.remove(at).fault),
            more => {
                *more -= 1;
                None
            }
        }
    })
}

/// The error that is planned for this call, if any.
pub fn check(step: Step) -> io::Result<()> {
    match next(step) {
        Some(Fault::Error(error)) => Err(error.into()),
        Some(Fault::Short(_)) => panic!("{step:?} can't be short"),
        None => Ok(()),
    }
}

/// The part of the bytes that this write takes.
pub fn truncate(bytes: &[u8]) -> io::Result<&[u8]> {
    match next(Step::Write) {
        Some(Fault::Error(error)) => Err(error.into()),
        Some(Fault::Short(max)) => Ok(&bytes[..max.min(bytes.len())]),
        None => Ok(bytes),
    }
}
