//! Why a worker is replaced, for the log and the metrics.

use crate::config::Limits;
use crate::metrics::Restart;

/// Why a healthy worker is replaced.
#[derive(Clone, Copy, Debug)]
pub enum Replacement {
    Outdated,
    Answers(u64),
    Memory(u64),
}

impl Replacement {
    /// The end of the sentence "restarting renderer process 17".
    pub fn describe(self, limits: &Limits) -> String {
        match self {
            Replacement::Outdated => ": a configured file or directory was replaced".to_owned(),
            Replacement::Answers(answers) => {
                let limit = limits.renderer_max_renders;
                format!(" after {answers} answers: limits.renderer_max_renders is {limit}")
            }
            Replacement::Memory(bytes) => {
                let limit = limits.renderer_max_rss;
                format!(" with {bytes} bytes resident: limits.renderer_max_rss is {limit}")
            }
        }
    }

    pub fn label(self) -> Restart {
        match self {
            Replacement::Outdated => Restart::Outdated,
            Replacement::Answers(_) => Restart::MaxRenders,
            Replacement::Memory(_) => Restart::MaxRss,
        }
    }
}
