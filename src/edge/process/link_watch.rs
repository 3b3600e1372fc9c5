//! Looks for switched links to the handlers' directories. The renderers need no notice: they follow the links at each
//! fetch, and are replaced when their sandbox does not allow the new directory.

use std::sync::Arc;
use std::{io, thread};

use crate::check_interval::check_interval;
use crate::edge::net::shared::Shared;
use crate::log::info;

/// Starts a thread that looks once per check interval, until every other reference to `shared` is dropped.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::downgrade(shared);
    let watch = move || {
        loop {
            thread::sleep(check_interval());
            let Some(shared) = shared.upgrade() else { return };
            // A directory may be on a network file system that hangs, so nothing else is held meanwhile.
            let handlers: Vec<_> =
                shared.responder.running.get().images.handlers().map(Arc::clone).collect();
            drop(shared);
            for handler in handlers {
                if let Some((directory, target)) = handler.check_links() {
                    let (route, directory) = (&handler.config.route, directory.display());
                    let target = target.display();
                    info!("directory_switched", "{route}: {directory} leads to {target}");
                }
            }
        }
    };
    thread::Builder::new().name("links".into()).spawn(watch).map(drop)
}
