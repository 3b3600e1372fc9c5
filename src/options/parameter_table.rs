//! What the table of the query parameters becomes: [`PARAMETERS`](super::PARAMETERS), [`Options`](super::Options), and the
//! values of a query.

macro_rules! parameters {
    (
        $(
            combined {
                $(
                    #[doc = $combined_doc:literal]
                    $combined_name:literal $combined:ident: $combined_type:ty = $combined_default:expr,
                    $combined_shown:literal;
                    $combined_rule:expr, $combined_parse:expr;
                    $combined_control:expr;
                    $combined_effect:ident;
                    $write:expr;
                )*
            }
            fields {
                $(
                    #[doc = $doc:literal]
                    $name:literal $field:ident: $type:ty = $default:expr, $shown:literal;
                    $rule:expr, $parse:expr;
                    $control:expr;
                    $effect:ident, $on_error_images:ident;
                )*
            }
        )*
        request {
            $(
                #[doc = $request_doc:literal]
                $request_name:literal, $request_shown:literal; $request_rule:expr;
            )*
        }
    ) => {
        /// Every known parameter.
        pub const PARAMETERS: &[Parameter] = &[
            $(
                $(parameters!(
                    @row $combined_name, true, $combined_rule, $combined_control, $combined_shown,
                    $combined_effect, $combined_doc
                ),)*
                $(parameters!(@row $name, true, $rule, $control, $shown, $effect, $doc),)*
            )*
            $(parameters!(
                @row $request_name, false, $request_rule, Control::Text, $request_shown,
                keeps_pixels, $request_doc
            ),)*
        ];

        /// The value of each image parameter of a query, on its own.
        pub(super) struct Values {
            $($(pub $combined: $combined_type,)* $(pub $field: $type,)*)*
        }

        impl Values {
            /// Reads the values from the texts of a query, which `text` gives.
            pub fn read<'q>(
                text: impl Fn(Place) -> Option<&'q str>,
            ) -> Result<Values, BadQuery> {
                Ok(Values {
                    $(
                        $($combined: value(
                            $combined_name, text(const { Place::of($combined_name) }), $combined_default,
                            || $combined_rule.into(), $combined_parse
                        )?,)*
                        $($field: value(
                            $name, text(const { Place::of($name) }), $default,
                            || $rule.into(), $parse
                        )?,)*
                    )*
                })
            }

            pub fn into_options(
                self,
                size: Size,
                minimum: Option<Minimum>,
                format: Output,
                quality: Quality,
                watermarks: Vec<Arc<Watermark>>,
            ) -> Options {
                let rotation = Rotation::by(self.rotation, self.flip);
                Options {
                    size, minimum, format, quality, rotation, watermarks,
                    $($($field: self.$field,)*)*
                }
            }
        }

        /// The options of a request. Two requests with equal options get the same bytes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Options {
            /// `w`, `h`, `c`, `g`, `pad`, `fit` and `dpr`, resolved.
            pub size: Size,
            /// `min-w` and `min-h`, resolved.
            pub minimum: Option<Minimum>,
            /// The format to write, see [`Options::formats`].
            pub format: Output,
            /// `q`, or the defaults of the handler.
            pub quality: Quality,
            /// `rot` and `flip`.
            pub rotation: Rotation,
            /// `wm`, and those that every image of the handler has, in the order in which they are drawn.
            pub watermarks: Vec<Arc<Watermark>>,
            $($(#[doc = $doc] pub $field: $type,)*)*
        }

        impl Options {
            /// The canonical query; resolving it gives the same options again.
            pub fn canonical(&self) -> String {
                let mut query = String::with_capacity(48);
                let mut put = |name: &str, value: Arguments| {
                    let separator = if query.is_empty() { "" } else { "&" };
                    // Writing to a String can't fail.
                    let _ = write!(query, "{separator}{name}={value}");
                };
                $(
                    $(
                        let write: fn(&Options, Put) = $write;
                        write(self, &mut |value| put($combined_name, value));
                    )*
                    $(
                        if self.$field != $default {
                            put($name, format_args!("{}", Canonical(&self.$field)));
                        }
                    )*
                )*
                query
            }

            /// The same size and format without the options that are about the original: an error image shows a
            /// message. It is not enlarged either, which would take long and show no more.
            pub fn of_error_image(&self) -> Options {
                let size = match self.size {
                    Size::Stretch(width, height) => Size::Fill(width, height, Gravity::CENTRE),
                    size => size,
                };
                Options {
                    size,
                    minimum: None,
                    format: self.format,
                    quality: self.quality,
                    rotation: Rotation::default(),
                    watermarks: Vec::new(),
                    $($($field: parameters!(@error_image $on_error_images, self.$field, $default),)*)*
                }
                .normalize()
            }
        }
    };
    (
        @row $name:expr, $is_image_option:expr, $rule:expr, $control:expr, $shown:expr,
        $effect:ident, $doc:expr
    ) => {
        Parameter {
            name: $name,
            is_image_option: $is_image_option,
            rule: || $rule.into(),
            control: $control,
            default: $shown,
            #[cfg(test)]
            changes_pixels: parameters!(@effect $effect),
            documentation: $doc,
        }
    };
    (@effect changes_pixels) => { true };
    (@effect keeps_pixels) => { false };
    (@error_image kept, $value:expr, $default:expr) => { $value };
    (@error_image reset, $value:expr, $default:expr) => { $default };
}

pub(super) use parameters;
