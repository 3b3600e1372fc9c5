//! `"fallback"`: the image that is sent in place of one that the origins do not have.
//!
//! It is a variant of the key in `fallback`, with the options of the request: it is made once, cached, revalidated and
//! purged as that, however many keys are missing.

use std::sync::Arc;

use crate::cache::{EncodedImage, Name, Need};
use crate::edge::variants::{HandlerState, Lookup, Miss, VariantRequest, Variants};
use crate::error::Code;
use crate::options::{Options, Raw};
use crate::phases::Phases;

/// The result of a lookup of the fallback of a failed request.
#[derive(Debug)]
pub enum Fallback {
    /// There is none, or it can't be made.
    None,
    Found(Arc<EncodedImage>),
    /// A thread that may wait can make it.
    Miss(Name, Miss),
}

/// Finds the fallback of a request for `name` that failed with `code`.
pub fn find(
    variants: &Arc<Variants>,
    handler: &Arc<HandlerState>,
    (name, options): (&Name, &Options),
    code: Code,
) -> Fallback {
    // A description tells about the key, and the fallback is no file of the key's type.
    if options.description().is_some() || matches!(options.raw, Raw::File(_)) {
        return Fallback::None;
    }
    // S3 does not show whether a key exists if the credentials may not list the bucket.
    let is_missing = matches!(code, Code::NotFound | Code::NotShown);
    let Some(key) = handler.config.fallback.as_ref().filter(|key| is_missing && **key != name.key)
    else {
        return Fallback::None;
    };
    let fallback = Name { key: key.clone(), ..name.clone() };
    let request = VariantRequest { handler, name: &fallback, need: Need::Image };
    let missed = match variants.lookup(request) {
        Lookup::Ready(Ok(variant)) => match variant.content.read() {
            Some(image) => return Fallback::Found(image),
            // The entry on disk is damaged.
            None => variants.lookup_uncached(request),
        },
        Lookup::Ready(Err(error)) => Err(error),
        Lookup::Miss(miss) => Ok(miss),
    };
    missed.map_or(Fallback::None, |miss| Fallback::Miss(fallback, miss))
}

impl Fallback {
    /// The image, which is made if it was not found. Waits for the renderer.
    pub fn make(
        self,
        variants: &Arc<Variants>,
        handler: &Arc<HandlerState>,
        phases: &mut Phases,
    ) -> Option<Arc<EncodedImage>> {
        match self {
            Fallback::None => None,
            Fallback::Found(image) => Some(image),
            Fallback::Miss(name, miss) => {
                let request = VariantRequest { handler, name: &name, need: Need::Image };
                variants.make(request, miss, phases).ok().map(|variant| variant.content)
            }
        }
    }
}
