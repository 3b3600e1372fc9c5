//! Calls any operation of libvips by its name, with named arguments.
//!
//! The C functions of libvips take optional arguments as varargs, which are not checked. Here each argument is set as
//! a property of the operation after its name, type and range were compared with the definition of the property, so
//! that a wrong argument is an [`Error`] and never undefined behaviour.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use libvips::bindings as ffi;

use super::error::{Error, take_error};
use super::image::Image;
use super::kill::Computing;

/// Fundamental types of GObject (`G_TYPE_MAKE_FUNDAMENTAL` in gtype.h): stable numbers, which are macros in C.
const G_TYPE_BOOLEAN: ffi::GType = 5 << 2;
const G_TYPE_INT: ffi::GType = 6 << 2;
const G_TYPE_DOUBLE: ffi::GType = 15 << 2;
const G_TYPE_STRING: ffi::GType = 16 << 2;

/// An argument of an operation.
#[derive(Clone, Copy, Debug)]
pub enum Value<'v, 'b> {
    /// An integer, or a value of an enum or of flags.
    Int(c_int),
    Double(f64),
    Bool(bool),
    /// Text; libvips copies it.
    Text(&'v CStr),
    /// An image; libvips takes its own reference.
    Image(&'v Image<'b>),
    Images(&'v [Image<'b>]),
    /// Numbers; libvips copies them.
    Doubles(&'v [f64]),
    /// The interpolator of this name.
    Interpolator(&'v CStr),
    /// An encoded image, which is not copied: it must outlive the images that are loaded from it.
    Bytes(&'b [u8]),
}

/// `access` of a loader: lines are read once, from top to bottom, and not kept.
pub const SEQUENTIAL: Value = Value::Int(ffi::VipsAccess_VIPS_ACCESS_SEQUENTIAL as c_int);

/// A number of pixels, as an argument.
pub fn pixels<'v, 'b>(count: u32) -> Value<'v, 'b> {
    Value::Int(clamped(count))
}

pub(super) fn clamped(pixels: u32) -> c_int {
    c_int::try_from(pixels).unwrap_or(c_int::MAX)
}

/// The outputs of an operation. They may read the bytes of its arguments later.
#[derive(Debug)]
pub struct Outputs<'b> {
    operation: NonNull<ffi::VipsOperation>,
    bytes: PhantomData<&'b [u8]>,
}

/// Calls an operation.
pub fn call<'b>(name: &CStr, arguments: &[(&CStr, Value<'_, 'b>)]) -> Result<Outputs<'b>, Error> {
    // SAFETY: the name ends with NUL; the result is a new reference or null.
    let operation =
        NonNull::new(unsafe { ffi::vips_operation_new(name.as_ptr()) }).ok_or_else(take_error)?;
    // Dropping the outputs releases the reference.
    let mut outputs = Outputs { operation, bytes: PhantomData };
    for (name, value) in arguments {
        outputs.set(name, value)?;
    }
    // Some operations compute pixels before they return.
    let image = arguments
        .iter()
        .find_map(|(_, value)| if let Value::Image(image) = value { Some(image) } else { None });
    let _computing = image.map(|image| Computing::of(image));
    let mut operation = outputs.operation.as_ptr();
    // SAFETY: a live operation that is not built yet. libvips may replace it by an equal one from its cache; the
    // reference moves to that one.
    let status = unsafe { ffi::vips_cache_operation_buildp(&mut operation) };
    if let Some(built) = NonNull::new(operation) {
        outputs.operation = built;
    }
    if status == 0 { Ok(outputs) } else { Err(take_error()) }
}

impl<'b> Image<'b> {
    /// Calls an operation whose input is `in` and whose output is `out`.
    pub fn apply(
        &self,
        operation: &CStr,
        arguments: &[(&CStr, Value<'_, 'b>)],
    ) -> Result<Image<'b>, Error> {
        let mut all = vec![(c"in", Value::Image(self))];
        all.extend_from_slice(arguments);
        call(operation, &all)?.image(c"out")
    }
}

impl<'b> Outputs<'b> {
    /// The output image of this name.
    pub fn image(&self, name: &CStr) -> Result<Image<'b>, Error> {
        // SAFETY: returns a number.
        let kind = unsafe { ffi::vips_image_get_type() };
        let found = self.get(name, kind, |value| {
            // SAFETY: a property of this type holds a live image or null; the result is a new reference.
            unsafe { ffi::g_value_dup_object(value) }
        })?;
        Image::from_raw(found.cast())
    }

    /// The output integer of this name.
    pub fn int(&self, name: &CStr) -> Result<c_int, Error> {
        // SAFETY: the property is an int.
        self.get(name, G_TYPE_INT, |value| unsafe { ffi::g_value_get_int(value) })
    }

    fn object(&self) -> *mut ffi::VipsObject {
        self.operation.as_ptr().cast()
    }

    /// The definition of an argument. It lives as long as the class of the operation, which is never freed.
    fn property(&self, name: &CStr) -> Result<*mut ffi::GParamSpec, Error> {
        let mut property = ptr::null_mut();
        let mut class = ptr::null_mut();
        let mut instance = ptr::null_mut();
        // SAFETY: a live object, a name that ends with NUL, out parameters that are valid to write to.
        let status = unsafe {
            ffi::vips_object_get_argument(
                self.object(),
                name.as_ptr(),
                &mut property,
                &mut class,
                &mut instance,
            )
        };
        if status == 0 && !property.is_null() { Ok(property) } else { Err(take_error()) }
    }

    fn set(&self, name: &CStr, value: &Value) -> Result<(), Error> {
        // SAFETY: each value is written with the setter of the type that it was initialised with. The setter copies or
        // references text, boxed values and objects; those that were created for it are released right after.
        unsafe {
            match *value {
                Value::Int(number) => {
                    self.put(name, G_TYPE_INT, |value| ffi::g_value_set_int(value, number))
                }
                Value::Double(number) => {
                    self.put(name, G_TYPE_DOUBLE, |value| ffi::g_value_set_double(value, number))
                }
                Value::Bool(yes) => self.put(name, G_TYPE_BOOLEAN, |value| {
                    ffi::g_value_set_boolean(value, c_int::from(yes))
                }),
                Value::Text(text) => self.put(name, G_TYPE_STRING, |value| {
                    ffi::g_value_set_string(value, text.as_ptr())
                }),
                Value::Image(image) => self.put(name, ffi::vips_image_get_type(), |value| {
                    ffi::g_value_set_object(value, image.raw().cast());
                }),
                Value::Images(images) => {
                    let mut raw: Vec<*mut ffi::VipsImage> = images.iter().map(Image::raw).collect();
                    let count = c_int::try_from(raw.len()).unwrap_or(c_int::MAX);
                    let array = ffi::vips_array_image_new(raw.as_mut_ptr(), count);
                    self.put_boxed(name, ffi::vips_array_image_get_type(), array.cast())
                }
                Value::Doubles(numbers) => {
                    let count = c_int::try_from(numbers.len()).unwrap_or(c_int::MAX);
                    let array = ffi::vips_array_double_new(numbers.as_ptr(), count);
                    self.put_boxed(name, ffi::vips_array_double_get_type(), array.cast())
                }
                Value::Interpolator(nickname) => {
                    let interpolator = ffi::vips_interpolate_new(nickname.as_ptr());
                    if interpolator.is_null() {
                        return Err(take_error());
                    }
                    let kind = ffi::vips_interpolate_get_type();
                    let outcome = self.put(name, kind, |value| {
                        ffi::g_value_set_object(value, interpolator.cast());
                    });
                    // The operation has its own reference.
                    ffi::g_object_unref(interpolator.cast());
                    outcome
                }
                Value::Bytes(bytes) => {
                    let blob =
                        ffi::vips_blob_new(None, bytes.as_ptr().cast(), bytes.len() as ffi::size_t);
                    self.put_boxed(name, ffi::vips_blob_get_type(), blob.cast())
                }
            }
        }
    }

    /// Sets a boxed value of a type that libvips counts references of, and releases the reference of the caller.
    ///
    /// # Safety
    /// `area` is a live value of that type, owned by the caller, or null.
    unsafe fn put_boxed(
        &self,
        name: &CStr,
        kind: ffi::GType,
        area: *mut ffi::VipsArea,
    ) -> Result<(), Error> {
        if area.is_null() {
            return Err(take_error());
        }
        // SAFETY: by the contract of this function; the value takes its own reference.
        unsafe {
            let outcome = self
                .put(name, kind, |value| ffi::g_value_set_boxed(value, area.cast_const().cast()));
            ffi::vips_area_unref(area);
            outcome
        }
    }

    fn put(
        &self,
        name: &CStr,
        kind: ffi::GType,
        fill: impl FnOnce(*mut ffi::GValue),
    ) -> Result<(), Error> {
        let property = self.property(name)?;
        // SAFETY: a live property; both types are valid.
        let (expected_kind, fits) = unsafe {
            let expected = (*property).value_type;
            (expected, ffi::g_value_type_transformable(kind, expected) != 0)
        };
        if !fits {
            return Err(Error(format!("{name:?} has another type")));
        }
        let mut given = unset();
        let mut expected = unset();
        // SAFETY: both values are initialised before they are used and unset afterwards. GObject has this
        // transformation. Validation changes values that are out of range, and returns whether it did.
        let fits = unsafe {
            ffi::g_value_init(&mut given, kind);
            fill(&mut given);
            ffi::g_value_init(&mut expected, expected_kind);
            let fits = ffi::g_value_transform(&given, &mut expected) != 0
                && ffi::g_param_value_validate(property, &mut expected) == 0;
            if fits {
                ffi::g_object_set_property(
                    self.operation.as_ptr().cast(),
                    name.as_ptr(),
                    &expected,
                );
            }
            ffi::g_value_unset(&mut expected);
            ffi::g_value_unset(&mut given);
            fits
        };
        if fits { Ok(()) } else { Err(Error(format!("{name:?} is out of range"))) }
    }

    fn get<T>(
        &self,
        name: &CStr,
        kind: ffi::GType,
        read: impl FnOnce(*const ffi::GValue) -> T,
    ) -> Result<T, Error> {
        let property = self.property(name)?;
        // SAFETY: a live property.
        if unsafe { (*property).value_type } != kind {
            return Err(Error(format!("{name:?} has another type")));
        }
        let mut value = unset();
        // SAFETY: the value is initialised with the type of the property, read and unset.
        unsafe {
            ffi::g_value_init(&mut value, kind);
            ffi::g_object_get_property(self.operation.as_ptr().cast(), name.as_ptr(), &mut value);
            let found = read(&value);
            ffi::g_value_unset(&mut value);
            Ok(found)
        }
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        // SAFETY: this value owns the outputs that were not taken, and the reference.
        unsafe {
            ffi::vips_object_unref_outputs(self.object());
            ffi::g_object_unref(self.operation.as_ptr().cast::<c_void>());
        }
    }
}

/// `G_VALUE_INIT`.
fn unset() -> ffi::GValue {
    // SAFETY: a GValue is plain data, and C initialises it with zeros.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::super::Vips;
    use super::super::testing::PNG;
    use super::*;

    #[test]
    fn argument_names_types_and_ranges_are_checked() {
        let vips = Vips::start().unwrap();
        let image = vips.read_header(PNG).unwrap();
        let copy = |arguments: &[(&CStr, Value)]| {
            let mut all = vec![(c"in", Value::Image(&image))];
            all.extend_from_slice(arguments);
            call(c"copy", &all)
                .map(|outputs| outputs.image(c"out").unwrap().width())
                .map_err(|error| error.0)
        };
        assert_eq!(copy(&[]), Ok(2));
        assert_eq!(copy(&[(c"width", Value::Int(2))]), Ok(2));
        for wrong in [
            (c"nonsense", Value::Int(1)),
            (c"width", Value::Text(c"two")),
            (c"width", Value::Image(&image)),
            (c"width", Value::Int(-1)),
            (c"width", Value::Bytes(b"x")),
            (c"in", Value::Doubles(&[1.0])),
            (c"in", Value::Images(&[])),
            (c"width", Value::Interpolator(c"bicubic")),
        ] {
            assert!(copy(&[wrong]).is_err(), "{wrong:?}");
        }
        let interpolated = |name| {
            let matrix = [2.0, 0.0, 0.0, 2.0];
            let interpolator = Value::Interpolator(name);
            image.apply(
                c"affine",
                &[(c"matrix", Value::Doubles(&matrix)), (c"interpolate", interpolator)],
            )
        };
        assert!(interpolated(c"bicubic").is_ok() && interpolated(c"nonsense").is_err());
        assert!(call(c"no such operation", &[]).is_err());
        assert!(call(c"copy", &[]).is_err(), "a required argument is missing");
    }

    #[test]
    fn output_names_and_types_are_checked() {
        let vips = Vips::start().unwrap();
        let image = vips.read_header(PNG).unwrap();
        let outputs = call(c"copy", &[(c"in", Value::Image(&image))]).unwrap();
        assert!(outputs.image(c"nonsense").is_err());
        assert!(outputs.int(c"out").is_err());
        assert_eq!(outputs.image(c"out").unwrap().width(), 2);
        assert_eq!(outputs.image(c"out").unwrap().height(), 1, "an output can be read again");
    }
}
