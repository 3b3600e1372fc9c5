//! The tone curves of ICC profiles: `curv` and `para` (ICC.1:2022 §10.6, §10.18).

use super::cursor::Cursor;

/// From a stored value to linear light, both from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    Table(Vec<u16>),
    /// `(a x + b) ^ g + c` from `d` on, and `e x + f` below.
    Parametric {
        g: f64,
        a: f64,
        b: f64,
        c: f64,
        d: f64,
        e: f64,
        f: f64,
    },
}

impl Curve {
    /// Reads a tag; `None` if it is malformed.
    pub fn parse(tag: &[u8]) -> Option<Curve> {
        let mut cursor = Cursor::new(tag);
        let kind: [u8; 4] = cursor.array()?;
        cursor.take(4)?;
        match &kind {
            b"curv" => {
                let count = usize::try_from(cursor.u32_be()?).ok()?;
                let entries = cursor.take(count.checked_mul(2)?)?.as_chunks::<2>().0;
                let entries: Vec<u16> =
                    entries.iter().map(|two| u16::from_be_bytes(*two)).collect();
                Some(match entries[..] {
                    [] => Curve::power(1.0),
                    [exponent] => Curve::power(f64::from(exponent) / 256.0),
                    _ => Curve::Table(entries),
                })
            }
            b"para" => {
                let kind = cursor.u16_be()?;
                cursor.take(2)?;
                let mut next = || Some(f64::from(cursor.u32_be()?.cast_signed()) / 65_536.0);
                let mut curve = [next()?, 1.0, 0.0, 0.0, f64::MIN, 0.0, 0.0];
                // The parameters of each type, in their order.
                let names: &[usize] = match kind {
                    0 => &[],
                    1 => &[1, 2],
                    2 => &[1, 2, 3],
                    3 => &[1, 2, 5, 4],
                    4 => &[1, 2, 5, 4, 3, 6],
                    _ => return None,
                };
                for name in names {
                    *curve.get_mut(*name)? = next()?;
                }
                let [g, a, b, c, d, e, f] = curve;
                match kind {
                    // Below -b/a the value is constant: 0, or c.
                    1 | 2 if a == 0.0 => None,
                    1 => Some(Curve::Parametric { g, a, b, c, d: -b / a, e, f }),
                    2 => Some(Curve::Parametric { g, a, b, c, d: -b / a, e, f: c }),
                    _ => Some(Curve::Parametric { g, a, b, c, d, e, f }),
                }
            }
            _ => None,
        }
    }

    fn power(g: f64) -> Curve {
        Curve::Parametric { g, a: 1.0, b: 0.0, c: 0.0, d: f64::MIN, e: 0.0, f: 0.0 }
    }

    /// Linear light of a value from 0 to 1.
    pub fn light(&self, value: f64) -> f64 {
        let light = match self {
            Curve::Table(entries) => {
                let place = value * entries.len().saturating_sub(1) as f64;
                let entry =
                    |at: f64| entries.get(at as usize).map_or(0.0, |entry| f64::from(*entry));
                let (low, high) = (entry(place.floor()), entry(place.ceil()));
                (low + (high - low) * place.fract()) / 65_535.0
            }
            Curve::Parametric { g, a, b, c, d, e, f } => {
                if value >= *d {
                    (a * value + b).max(0.0).powf(*g) + c
                } else {
                    e * value + f
                }
            }
        };
        // `clamp` leaves what is not a number.
        if light.is_nan() { 0.0 } else { light.clamp(0.0, 1.0) }
    }
}

/// The value of sRGB for linear light, both from 0 to 1 (IEC 61966-2-1).
pub fn srgb_encoded(light: f64) -> f64 {
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parametric(kind: u8, parameters: &[f64]) -> Option<Curve> {
        let numbers = parameters.iter().flat_map(|n| ((n * 65_536.0).round() as i32).to_be_bytes());
        let tag: Vec<u8> = [*b"para", [0; 4], [0, kind, 0, 0]].concat();
        Curve::parse(&tag.into_iter().chain(numbers).collect::<Vec<_>>())
    }

    fn table(entries: &[u16]) -> Option<Curve> {
        let count = (entries.len() as u32).to_be_bytes();
        let entries: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        Curve::parse(&[b"curv\0\0\0\0", &count[..], &entries].concat())
    }

    #[track_caller]
    fn expect(curve: Option<Curve>, lights: &[(f64, f64)]) {
        let curve = curve.unwrap();
        for (value, light) in lights {
            assert!((curve.light(*value) - light).abs() < 1e-4, "{curve:?} at {value}");
        }
    }

    #[test]
    fn icc_curves_of_each_type() {
        expect(table(&[]), &[(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)]);
        expect(table(&[512]), &[(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)]);
        expect(table(&[0, 13_107, 65_535]), &[(0.0, 0.0), (0.25, 0.1), (0.5, 0.2), (1.0, 1.0)]);
        expect(parametric(0, &[2.0]), &[(0.5, 0.25)]);
        expect(parametric(1, &[2.0, 1.0, -0.2]), &[(0.1, 0.0), (0.7, 0.25)]);
        expect(parametric(2, &[2.0, 1.0, -0.2, 0.1]), &[(0.1, 0.1), (0.7, 0.35)]);
        let srgb = [2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045];
        expect(parametric(3, &srgb), &[(0.0, 0.0), (0.03, 0.002_32), (0.5, 0.214_04), (1.0, 1.0)]);
        let shifted = [2.0, 1.0, 0.0, 0.5, 0.4, 0.1, 0.2];
        expect(parametric(4, &shifted), &[(0.2, 0.3), (0.5, 0.35), (1.0, 1.0)]);
    }

    #[test]
    fn icc_curves_that_are_malformed_are_refused_or_bounded() {
        assert_eq!(Curve::parse(b""), None);
        assert_eq!(Curve::parse(b"curv\0\0\0\0\0\0\0\x02\0\0"), None);
        assert_eq!(Curve::parse(b"curv\0\0\0\0\xff\xff\xff\xff\0\0"), None);
        assert_eq!(Curve::parse(b"nope\0\0\0\0\0\0\0\0"), None);
        for (kind, parameters) in [(0, 0), (1, 2), (2, 3), (3, 4), (4, 6), (5, 7)] {
            assert_eq!(parametric(kind, &vec![1.0; parameters]), None, "{kind}");
        }
        assert_eq!(parametric(1, &[1.0, 0.0, 0.0]), None);
        for parameters in [[-30_000.0; 7], [30_000.0; 7], [0.0; 7]] {
            for kind in 0..=4 {
                let Some(curve) = parametric(kind, &parameters) else { continue };
                for value in [0.0, 0.5, 1.0] {
                    assert!((0.0..=1.0).contains(&curve.light(value)), "{curve:?}");
                }
            }
        }
    }

    #[test]
    fn icc_srgb_is_the_inverse_of_its_curve() {
        let curve =
            parametric(3, &[2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045]).unwrap();
        for code in 0..=255 {
            let value = f64::from(code) / 255.0;
            assert!((srgb_encoded(curve.light(value)) - value).abs() < 1e-3);
        }
    }
}
