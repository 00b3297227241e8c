//! Shared code of the benchmark programs. They are tools, not examples of style: they panic at the first surprise.

pub mod counting;
pub mod world;

use std::borrow::Cow;

/// The programs' arguments, `--name value`.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Takes the arguments of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Arguments(std::env::args().skip(1).collect())
    }

    /// Returns the value of an argument, or `default`.
    #[must_use]
    pub fn text(&self, name: &str, default: &str) -> String {
        let at = self.0.iter().position(|argument| argument == name);
        let value = at.and_then(|at| self.0.get(at + 1));
        value.map_or(default, String::as_str).to_owned()
    }

    /// Returns the value of an argument as a number, or `default`.
    ///
    /// # Panics
    /// If the value is not a number.
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

/// A random generator that is good enough to pick keys.
pub struct Random(u64);

impl Random {
    /// Starts a sequence that differs for each `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random((seed + 1).wrapping_mul(0xD134_2543_DE82_EF95) ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// Returns a number from 1 to `most`.
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
    /// The clock tick that Linux counts in: `getconf CLK_TCK` is 100 on all common systems.
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

/// The number of voluntary context switches of this process's threads.
#[must_use]
pub fn sleeps() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task");
    let threads = threads.into_iter().flatten().flatten();
    let of = |status: String| -> Option<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line?.trim().parse().ok()
    };
    let statuses =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    statuses.filter_map(of).sum()
}

/// Returns the body of an HTTP response once it is complete.
///
/// # Errors
/// The status is not 200, or the form is one that no server here sends; returns the response's head.
pub fn body(response: &[u8]) -> Result<Option<Cow<'_, [u8]>>, String> {
    let Some(end) = find(response, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&response[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(head);
    }
    let rest = &response[end + 4..];
    let value = |name| head.lines().find_map(|line| line.strip_prefix(name));
    if value("transfer-encoding:").is_some_and(|value| value.trim() == "chunked") {
        return Ok(joined(rest).map(Cow::Owned));
    }
    let length = value("content-length:").and_then(|length| length.trim().parse().ok());
    let length: usize = length.ok_or(head)?;
    Ok(rest.get(..length).map(Cow::Borrowed))
}

/// Joins chunks (RFC 9112, section 7.1); `None` until the last one is there.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = find(chunks, b"\r\n")?;
        let size = std::str::from_utf8(&chunks[..line]).ok()?;
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        let chunk = chunks.get(line + 2..line + 2 + size + 2)?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(&chunk[..size]);
        chunks = &chunks[line + 2 + size + 2..];
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn a_body_is_given_once_it_is_whole() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        for whole in [&plain[..], &chunked[..]] {
            for length in 0..whole.len() {
                assert_eq!(body(&whole[..length]), Ok(None), "{length}");
            }
            assert_eq!(body(whole).unwrap().unwrap(), &b"hello"[..]);
        }
        assert!(body(b"HTTP/1.1 401 No\r\n\r\n").is_err());
    }
}
