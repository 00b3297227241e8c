//! Lines for the operator, as the documentation shows them, without a time or a level.

/// Writes a line to standard error. Nobody listening there is no reason to stop.
#[macro_export]
macro_rules! announce {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        _ = writeln!(std::io::stderr().lock(), $($part)*);
    }};
}
