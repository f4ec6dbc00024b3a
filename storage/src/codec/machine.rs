//! The inner loops for the machine at hand: plain code, compiled once for any machine and twice for x86-64, with AVX2 and
//! with AVX-512.
//!
//! All come from the same text, so they give the same results; a test decodes with each.

/// What the inner loops are compiled for, each level with all that the ones below it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there is no other level than the first"))]
pub(super) enum Level {
    Portable,
    Avx2,
    Avx512,
}

/// The level that this machine runs.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn level() -> Level {
    Level::Portable
}

/// The level that this machine runs.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn level() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("fma");
    // The last is not needed: processors from before it lower their clock for wide vectors.
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi");
    let level = match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, _) => Level::Portable,
    };
    #[cfg(test)]
    let level = level.min(tests::HIGHEST.get());
    level
}

/// Compiles a function for each level, and calls the one that suits.
macro_rules! for_machine {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[inline]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,bmi2,fma")]
            fn avx2($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,bmi2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $crate::codec::machine::level() {
                // SAFETY: the machine has what this is compiled for.
                $crate::codec::machine::Level::Avx512 => return unsafe { avx512($($argument),*) },
                // SAFETY: as above.
                $crate::codec::machine::Level::Avx2 => return unsafe { avx2($($argument),*) },
                $crate::codec::machine::Level::Portable => {}
            }
            portable($($argument),*)
        }
    };
}
pub(super) use for_machine;

#[cfg(test)]
pub(super) mod tests {
    use super::Level;
    use std::cell::Cell;

    thread_local! {
        pub(super) static HIGHEST: Cell<Level> = const { Cell::new(Level::Avx512) };
    }

    /// Runs it with what is compiled for each level, as far as this machine has them; the first result is that for any
    /// machine.
    pub(in crate::codec) fn at_each_level<R>(run: impl Fn() -> R) -> [R; 3] {
        let results = [Level::Portable, Level::Avx2, Level::Avx512].map(|level| {
            HIGHEST.set(level);
            run()
        });
        HIGHEST.set(Level::Avx512);
        results
    }
}
