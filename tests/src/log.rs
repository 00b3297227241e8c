use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The lines that a process has printed so far; clones share them.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    /// How many streams may still bring lines.
    open: usize,
}

impl Log {
    /// Collects everything from `stream` until it ends.
    pub fn collect(&self, stream: impl Read + Send + 'static) {
        let log = self.clone();
        log.change(|lines| lines.open += 1);
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.change(|lines| lines.lines.push(text));
                line.clear();
            }
            log.change(|lines| lines.open -= 1);
        });
    }

    /// Waits for the first line for which `find` gives a value.
    ///
    /// # Errors
    /// With everything that was printed, when all its streams end or `limit` passes before that.
    pub fn find<T>(&self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + limit;
        let (lines, changed) = &*self.0;
        let mut lines = lines.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(found) = lines.lines[seen..].iter().find_map(|line| find(line)) {
                return Ok(found);
            }
            seen = lines.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.open == 0 {
                return Err(lines.lines.join("\n"));
            }
            lines = changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for a line that contains `text`, and returns it. Panics after ten seconds.
    pub fn wait_for(&self, text: &str) -> String {
        self.find(Duration::from_secs(10), |line| {
            line.contains(text).then(|| line.to_owned())
        })
        .unwrap_or_else(|log| panic!("no line with {text:?} in the log:\n{log}"))
    }

    /// Counts the lines that contain `text`.
    pub fn count(&self, text: &str) -> usize {
        let (lines, _) = &*self.0;
        lines
            .lock()
            .unwrap()
            .lines
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lines, changed) = &*self.0;
        change(&mut lines.lock().unwrap());
        changed.notify_all();
    }
}

impl fmt::Display for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, _) = &*self.0;
        formatter.write_str(&lines.lock().unwrap().lines.join("\n"))
    }
}
