//! What is requested: `k0000.jpg`, `k0001.jpg`, …, each in three variants; and Zipf-distributed choices.

/// The variants of a key.
pub const VARIANTS: [&str; 3] = ["w=240&f=jpg", "w=160&h=160&f=webp", "w=320&f=webp"];
/// Keys whose first variant every node has before a load of hits.
pub const WARM: u64 = 200;

pub fn name(key: u64) -> String {
    format!("k{key:04}.jpg")
}

pub fn path(key: u64, query: &str) -> String {
    format!("/h/{}?{query}", name(key))
}

/// A variant that no other number has: of each key, widths from 64 on.
pub fn unique(number: u64, keys: u64) -> String {
    path(number % keys, &format!("w={}&f=jpg&q=70", 64 + number / keys))
}

/// SplitMix64: <https://doi.org/10.1145/2714064.2660195>, figure 15.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks 0, 1, … with probabilities in proportion to `1 / (rank + 1) ^ exponent`.
#[derive(Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    pub fn new(ranks: u64, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let sums = (1..=ranks).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Zipf(sums.collect())
    }

    pub fn choose(&self, random: &mut Random) -> u64 {
        let wanted = random.share() * self.0.last().copied().unwrap_or_default();
        self.0.partition_point(|sum| *sum <= wanted) as u64
    }
}
