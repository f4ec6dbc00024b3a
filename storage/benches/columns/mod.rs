//! Columns of values and times as systems report them, the same in every run.

/// Samples of a column: eight full blocks.
pub(crate) const SAMPLES: usize = 8 * 2048;

/// Numbers that look random and follow from the seed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with deviation 1.
    fn normal(&mut self) -> f64 {
        ((self.unit() + self.unit() + self.unit() + self.unit()) - 2.0) * 3.0_f64.sqrt()
    }
}

fn column(mut next: impl FnMut() -> f64) -> Vec<f64> {
    (0..SAMPLES).map(|_| next()).collect()
}

/// Walks by steps of this deviation between bounds, rounded to multiples of the unit.
fn walk(seed: u64, bounds: (f64, f64), step: f64, unit: impl Fn(f64) -> f64) -> Vec<f64> {
    let (mut noise, mut level) = (Noise::new(seed), (bounds.0 + bounds.1) / 2.0);
    column(|| {
        level = (level + step * noise.normal()).clamp(bounds.0, bounds.1);
        unit(level)
    })
}

/// A counter that rises by about this much, with resets.
fn counter(seed: u64, rate: f64, spread: f64) -> Vec<f64> {
    let (mut noise, mut total) = (Noise::new(seed), 0.0);
    column(|| {
        let rise = (rate * (1.0 + spread * noise.normal())).max(0.0).round();
        total = if noise.next().is_multiple_of(5760) { 0.0 } else { total + rise };
        total
    })
}

/// The kinds of values with their names.
pub(crate) fn kinds() -> Vec<(&'static str, Vec<f64>)> {
    let (mut seconds, mut meter, mut sum) = (Noise::new(1), Noise::new(2), Noise::new(3));
    let (mut busy_s, mut total_s) = (0.0_f64, 0.0_f64);
    let hundredths = |v: f64| (v * 100.0).round() / 100.0;
    vec![
        ("constant", vec![4096.0; SAMPLES]),
        ("counter, events", counter(4, 1500.0, 0.1)),
        ("counter, bytes", counter(5, 3e6, 0.1)),
        ("counter, rare", {
            let (mut noise, mut total) = (Noise::new(6), 0.0);
            column(|| {
                total += if noise.next().is_multiple_of(200) { 1.0 } else { 0.0 };
                total
            })
        }),
        ("counter, seconds", {
            column(|| {
                busy_s = hundredths(busy_s + 4.5 * (1.0 + 0.17 * seconds.normal()));
                busy_s
            })
        }),
        ("gauge, integer", walk(7, (0.0, 1000.0), 23.0, f64::round)),
        ("gauge, load", walk(8, (0.0, 4.0), 0.09, hundredths)),
        ("gauge, ratio", walk(9, (0.0, 1.0), 0.046, |v| (v * 1e4).round() / 1e4)),
        ("gauge, bytes", walk(10, (1e9, 8e9), 2.3e7, |v| (v / 4096.0).round() * 4096.0)),
        ("gauge, per second", column(|| (3e4 * (1.0 + 0.09 * meter.normal())).round() / 60.0)),
        (
            "float, noisy",
            column(|| {
                total_s += 0.6 * sum.unit();
                total_s
            }),
        ),
    ]
}

/// The buckets of a classic histogram, cumulative, each with more events than the one before.
pub(crate) fn buckets() -> Vec<Vec<f64>> {
    const BUCKETS: usize = 8;
    let mut noise = Noise::new(11);
    let mut buckets = vec![Vec::new(); BUCKETS];
    let mut totals = [0.0; BUCKETS];
    for _ in 0..SAMPLES {
        let mut left = (40.0 * (1.0 + 0.25 * noise.normal())).max(0.0).round();
        let events = left;
        for (bucket, total) in buckets.iter_mut().zip(&mut totals) {
            left -= (left * (0.25 + 0.3 * noise.unit())).round().min(left);
            *total += events - left;
            bucket.push(*total);
        }
    }
    buckets
}

/// Kinds of times with their names: on the grid, some late, all a little off.
pub(crate) fn times() -> Vec<(&'static str, Vec<i64>)> {
    let grid = |off: &mut dyn FnMut() -> i64| {
        (0..SAMPLES as i64).map(|i| 1_700_000_000_000 + i * 15_000 + off()).collect::<Vec<_>>()
    };
    let (mut late, mut jitter) = (Noise::new(12), Noise::new(13));
    vec![
        ("exact", grid(&mut || 0)),
        ("late", grid(&mut || if late.unit() < 0.03 { 3 + (late.unit() * 13.0) as i64 } else { 0 })),
        ("jitter", grid(&mut || (jitter.unit() * 11.0) as i64)),
    ]
}
