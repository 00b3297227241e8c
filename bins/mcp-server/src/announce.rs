//! Lines for the operator, as the documentation shows them, without a time or a level.

/// Writes a line to standard error. If nobody reads it, that is no reason to stop.
#[macro_export]
macro_rules! announce {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        _ = writeln!(std::io::stderr().lock(), $($part)*);
    }};
}
