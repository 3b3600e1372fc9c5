//! Renders one image for `s3imageserver render`, in the sandbox of a renderer but without any file, and exits.

use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use super::service::Service;
use super::vips::Vips;
use super::{process, sandbox};
use crate::config;
use crate::error::Failure;
use crate::log::{self, error};
use crate::machine;
use crate::media_type::MediaType;
use crate::render_call::{self, Call};

/// Renders the call on standard input and writes the answer to standard output. Returns the exit status.
pub fn run_once() -> i32 {
    let answered = render()
        .and_then(|answer| render_call::send_answer(&mut BufWriter::new(io::stdout()), &answer));
    match answered {
        Ok(()) => 0,
        Err(error) => {
            error!("renderer_failed", "{error}");
            1
        }
    }
}

fn render() -> io::Result<Result<(Vec<u8>, MediaType), Failure>> {
    process::exit_with_edge()?;
    let Call { setup, route, query, original } =
        render_call::receive_call(&mut BufReader::new(io::stdin()))?;
    machine::set(setup.machine);
    let mut config = config::parse_resolved(&setup.text, &setup.environment, &setup.resolved)
        .map_err(io::Error::other)?;
    log::configure(config.log_level, config.log_format);
    log::log_panics();
    let index = config.handlers.iter().position(|handler| handler.route == route);
    let handler = index.map(|index| config.handlers.swap_remove(index));
    let handler = handler.ok_or_else(|| io::Error::other("the handler is not configured"))?;
    // Without handlers, the sandbox allows no file, socket or connection, and the service opens none.
    config.handlers.clear();
    let sandbox = sandbox::enter(&config, Path::new(""));
    let vips = Vips::start().map_err(|error| io::Error::other(error.0))?;
    Ok(Service::new(&config, vips, sandbox)?.render_once(&original, &query, &handler))
}
