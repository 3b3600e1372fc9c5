//! Error images, resized as requested and cached in memory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::EncodedImage;
use crate::config::{Config, Handler};
use crate::edge::renderer::RenderRequest;
use crate::edge::variants::Variants;
use crate::error_image_timeout::{DEFAULT, error_image_timeout};
use crate::log::context;
use crate::options::Options;
use crate::phases::Phases;
use crate::singleflight::SingleFlight;
use crate::sync::Mutex;
use crate::{key, wire};

/// Maximum bytes of resized error images; when they are exceeded, all of them are dropped.
const MAX_BYTES: usize = 16 << 20;

/// The error images of all handlers.
#[derive(Debug)]
pub struct ErrorImages {
    /// By route; those of handlers with one.
    originals: HashMap<String, Arc<EncodedImage>>,
    resized: Arc<Mutex<Resized>>,
    /// By the renderer's request target.
    singleflight: Arc<SingleFlight<String, Option<Arc<EncodedImage>>>>,
}

#[derive(Debug, Default)]
struct Resized {
    /// By the renderer's request target.
    images: HashMap<String, Arc<EncodedImage>>,
    bytes: usize,
}

impl ErrorImages {
    pub fn new(config: &Config) -> ErrorImages {
        let original = |handler: &Handler| {
            let image = handler.error_image.as_ref()?;
            let image = EncodedImage::new(image.bytes.to_vec(), image.format, None);
            Some((handler.route.clone(), Arc::new(image)))
        };
        ErrorImages {
            originals: config.handlers.iter().filter_map(original).collect(),
            resized: Arc::default(),
            singleflight: Arc::new(SingleFlight::new()),
        }
    }

    /// Makes the error image of a handler with these options; `None` if the handler has none. If no renderer resizes it
    /// within [`error_image_timeout`], it is returned as it is, so that errors are reported even if rendering fails.
    pub fn make(
        &self,
        route: &str,
        options: &Options,
        variants: &Arc<Variants>,
    ) -> Option<Arc<EncodedImage>> {
        let original = self.original(route)?;
        let target = render_target(route, options);
        if let Some(found) = self.resized.lock().find(&target) {
            return Some(found);
        }
        let (images, variants, ids) =
            (Arc::clone(&self.resized), Arc::clone(variants), context::current());
        let asked = target.clone();
        // On a thread of its own, which goes on: an encoder that can't be stopped may take longer, and a renderer to whose
        // answer nobody listens would be replaced.
        let make = move || {
            let _scope = ids.map(context::enter);
            // Another call may have ended between the lookup and this one.
            let found = images.lock().find(&asked);
            found.or_else(|| {
                // A new renderer is ready within this time.
                let (request, phases) = (RenderRequest::new(&asked), &mut Phases::default());
                let rendered = variants.renderer().render_within(request, DEFAULT, phases);
                let image = Arc::new(rendered.ok()?.image);
                images.lock().insert(asked, &image);
                Some(image)
            })
        };
        // Singleflight, so that many failures at once don't fill the renderer's queue.
        let resized = self.singleflight.run_detached(&target, error_image_timeout(), None, make);
        resized.flatten().or(Some(original))
    }

    /// The error image of a handler as it is in its file.
    pub fn original(&self, route: &str) -> Option<Arc<EncodedImage>> {
        self.originals.get(route).map(Arc::clone)
    }

    /// The error image of a handler with these options, if it is cached.
    pub fn find(&self, route: &str, options: &Options) -> Option<Arc<EncodedImage>> {
        self.resized.lock().find(&render_target(route, options))
    }
}

impl Resized {
    fn find(&self, target: &str) -> Option<Arc<EncodedImage>> {
        self.images.get(target).map(Arc::clone)
    }

    fn insert(&mut self, target: String, image: &Arc<EncodedImage>) {
        if self.bytes + image.bytes.len() > MAX_BYTES {
            *self = Resized::default();
        }
        self.bytes += image.bytes.len();
        if let Some(replaced) = self.images.insert(target, Arc::clone(image)) {
            self.bytes -= replaced.bytes.len();
        }
    }
}

/// The request target for the renderer.
fn render_target(route: &str, options: &Options) -> String {
    let path = key::to_path("-", route);
    format!(
        "{}{}?{}",
        wire::ERROR_IMAGE_PATH,
        path.trim_start_matches("/-/"),
        options.of_error_image().canonical()
    )
}
