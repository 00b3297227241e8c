//! What the measuring programs share. They are devices, not models: they end at the first surprise.

/// The programs' arguments, `--name value`.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Takes the process's own.
    #[must_use]
    pub fn of_process() -> Self {
        Arguments(std::env::args().skip(1).collect())
    }

    /// Gives the value of an argument, or `default`.
    #[must_use]
    pub fn text(&self, name: &str, default: &str) -> String {
        let at = self.0.iter().position(|argument| argument == name);
        let value = at.and_then(|at| self.0.get(at + 1));
        value.map_or(default, String::as_str).to_owned()
    }

    /// Gives the number that an argument is, or `default`.
    ///
    /// # Panics
    /// When it is no number.
    #[must_use]
    pub fn number(&self, name: &str, default: u64) -> u64 {
        let text = self.text(name, "");
        if text.is_empty() {
            default
        } else {
            text.parse().expect("a number")
        }
    }
}

/// Picks keys; good enough for that.
pub struct Random(u64);

impl Random {
    /// Begins at a place that differs for each `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random((seed + 1).wrapping_mul(0xD134_2543_DE82_EF95) ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// Gives a number from 1 to `most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        1 + self.0 % most
    }
}

/// CPU time of a process, of its living children and of those that it has reaped, in microseconds.
#[must_use]
pub fn cpu_us(pid: u64) -> f64 {
    /// What Linux counts in, as `getconf CLK_TCK` says on every system that it runs on.
    const TICK_US: f64 = 10_000.0;
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let pids = children.unwrap_or_default();
    let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
    let ticks = |pid: u64| -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields = after_name.split_whitespace().skip(11).take(4);
        fields.filter_map(|field| field.parse::<f64>().ok()).sum()
    };
    (ticks(pid) + pids.map(ticks).sum::<f64>()) * TICK_US
}

/// Resident memory of a process, in KiB.
#[must_use]
pub fn resident_kib(pid: u64) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4
}
