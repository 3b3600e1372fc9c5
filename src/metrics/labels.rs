//! Labels whose values are names of the code, and values by such a label.

use std::fmt::Debug;
use std::marker::PhantomData;

use crate::token::Refusal;

/// A label with a fixed set of values.
pub trait Label: Copy + Debug + 'static {
    /// In the order of [`Label::index`].
    const ALL: &'static [Self];

    fn name(self) -> &'static str;

    fn index(self) -> usize;
}

macro_rules! labels {
    ($($(#[$about:meta])* $label:ident { $($(#[$meaning:meta])* $value:ident $name:literal,)* })*) => {
        $(
            $(#[$about])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $label { $($(#[$meaning])* $value,)* }

            impl Label for $label {
                const ALL: &'static [$label] = &[$($label::$value,)*];

                fn name(self) -> &'static str {
                    match self { $($label::$value => $name,)* }
                }

                fn index(self) -> usize {
                    self as usize
                }
            }
        )*
    };
}

labels! {
    /// The service of a listener.
    ListenerLabel {
        Http "http",
        Https "https",
        Admin "admin",
    }

    /// Why a connection is closed before its first request.
    RefusedConnection {
        Connections "connections",
        ConnectionsPerAddress "connections_per_address",
        ProxyHeader "proxy_header",
    }

    /// Why a renderer is started in place of another one.
    Restart {
        /// A signal like SIGSEGV, an abort, an exit status.
        Crash "crash",
        /// SIGKILL or SIGTERM from elsewhere, as from the kernel's OOM killer.
        Killed "killed",
        /// It has not answered pings.
        Hung "hung",
        /// It has not answered a request.
        Unresponsive "unresponsive",
        /// A configured file or directory was replaced.
        Outdated "outdated",
        MaxRenders "max_renders",
        MaxRss "max_rss",
    }

    /// How a renderer answered.
    VariantResult {
        /// With a new variant.
        Rendered "rendered",
        /// With the cached variant, after its original was found unchanged.
        Revalidated "revalidated",
        /// With a result of another server.
        Shared "shared",
        Failed "failed",
    }

    /// Why an entry of a cache directory is removed.
    Removal {
        Evicted "evicted",
        Expired "expired",
        Purged "purged",
    }

    /// What is purged.
    Purge {
        Key "key",
        Prefix "prefix",
    }

    /// The result of a request of a purge hook.
    HookResult {
        Ok "ok",
        /// It failed, and another one follows.
        Retried "retried",
        /// It failed for the last time.
        Failed "failed",
    }

    /// The sender of an event, or the service whose message it came in.
    EventSource {
        S3 "s3",
        Sns "sns",
        Sqs "sqs",
        EventBridge "eventbridge",
        Minio "minio",
        Ceph "ceph",
        Other "other",
    }

    /// What has become of an event.
    EventResult {
        Purged "purged",
        /// It was sent before, or is older than one about the same key.
        Repeated "repeated",
        /// No handler has its key.
        Unmatched "unmatched",
        /// It changes no image.
        Ignored "ignored",
        /// It must be sent again.
        Failed "failed",
        /// A message that is malformed or not one of a configured topic.
        Refused "refused",
    }

    /// The result of rendering a preset again after an event.
    EventRender {
        Rendered "rendered",
        Failed "failed",
        /// The queue was full.
        Dropped "dropped",
    }

    /// The result of a reload.
    Reload {
        Ok "ok",
        Failed "failed",
    }

    Handshake {
        Full "full",
        Resumed "resumed",
        Failed "failed",
    }
}

impl Label for Refusal {
    const ALL: &'static [Refusal] = Refusal::ALL;

    fn name(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Values by a label.
#[derive(Debug)]
pub struct By<L, V> {
    values: Vec<V>,
    label: PhantomData<L>,
}

impl<L: Label, V: Default> Default for By<L, V> {
    fn default() -> By<L, V> {
        By { values: L::ALL.iter().map(|_| V::default()).collect(), label: PhantomData }
    }
}

impl<L: Label, V> By<L, V> {
    pub fn get(&self, label: L) -> &V {
        // There is a value for each label.
        &self.values[label.index()]
    }

    /// The values with the names of their labels.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &V)> {
        L::ALL.iter().zip(&self.values).map(|(label, value)| (label.name(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::Counter;
    use super::*;

    fn assert_consistent<L: Label + PartialEq>() {
        let values = By::<L, Counter>::default();
        for (index, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), index);
            assert!(L::ALL[..index].iter().all(|other| other.name() != label.name()));
            values.get(*label).add(index as u64 + 1);
        }
        assert!(values.iter().map(|(_, counter)| counter.get()).eq(1..=L::ALL.len() as u64));
    }

    #[test]
    fn each_value_of_a_label_has_a_name_and_a_place() {
        assert_consistent::<ListenerLabel>();
        assert_consistent::<RefusedConnection>();
        assert_consistent::<Handshake>();
        assert_consistent::<Restart>();
        assert_consistent::<Reload>();
        assert_consistent::<VariantResult>();
        assert_consistent::<Removal>();
        assert_consistent::<Purge>();
        assert_consistent::<HookResult>();
        assert_consistent::<EventSource>();
        assert_consistent::<EventResult>();
        assert_consistent::<EventRender>();
        assert_consistent::<Refusal>();
    }
}
