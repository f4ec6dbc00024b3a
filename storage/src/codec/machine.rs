//! The inner loops for the machine at hand: plain code, compiled once for any machine and once for x86-64 with AVX2.
//!
//! Both come from the same text, so they give the same results; a test decodes with either.

/// True if this machine runs what is compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn is_fast() -> bool {
    #[cfg(test)]
    if tests::PORTABLE_ONLY.get() {
        return false;
    }
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("fma")
}

/// Compiles a function for any machine and for x86-64 with AVX2, and calls the one that suits.
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
            fn fast($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            if $crate::codec::machine::is_fast() {
                // SAFETY: the machine has what this is compiled for.
                return unsafe { fast($($argument),*) };
            }
            portable($($argument),*)
        }
    };
}
pub(super) use for_machine;

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    thread_local! {
        pub(in crate::codec) static PORTABLE_ONLY: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs it with what is compiled for any machine.
    pub(in crate::codec) fn portable<R>(run: impl FnOnce() -> R) -> R {
        PORTABLE_ONLY.set(true);
        let result = run();
        PORTABLE_ONLY.set(false);
        result
    }
}
