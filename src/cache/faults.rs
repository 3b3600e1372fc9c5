//! Failures that a test plans for the calls of [`super::system`] on its own thread.

use std::cell::RefCell;
use std::io;

use rustix::io::Errno;

/// A call that can fail.
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

/// How it fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// With this error, and does nothing.
    Error(Errno),
    /// It writes no more than so many bytes, which is no error.
    Short(usize),
}

struct Planned {
    step: Step,
    /// How many such calls work before this one fails.
    after: usize,
    fault: Fault,
}

thread_local! {
    static PLAN: RefCell<Vec<Planned>> = const { RefCell::new(Vec::new()) };
}

/// Lets a call fail, after so many that don't: from now, or from the failure that was planned for this call before.
pub fn plan(step: Step, after: usize, fault: Fault) {
    PLAN.with_borrow_mut(|plan| plan.push(Planned { step, after, fault }));
}

/// Nothing fails any more. How much of the plan did not come to pass.
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

/// The failure that is planned for this call.
pub fn strike(step: Step) -> io::Result<()> {
    match next(step) {
        Some(Fault::Error(error)) => Err(error.into()),
        Some(Fault::Short(_)) => panic!("{step:?} can't be short"),
        None => Ok(()),
    }
}

/// As much of the bytes as this write is going to take.
pub fn cut(bytes: &[u8]) -> io::Result<&[u8]> {
    match next(Step::Write) {
        Some(Fault::Error(error)) => Err(error.into()),
        Some(Fault::Short(most)) => Ok(&bytes[..most.min(bytes.len())]),
        None => Ok(bytes),
    }
}
