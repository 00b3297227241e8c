//! Lines of bounded length.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::jsonrpc::{Id, Skim};

/// One line of the input.
pub(crate) enum Line {
    /// A line that is not blank and within the limit.
    Whole(Vec<u8>),
    /// A line that was too long and was skipped, with the request's id if it was a request.
    TooLong(Option<Id>),
}

/// Reads lines. Reading one may be dropped and taken up again.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
    /// Set while the rest of a line that is too long is skipped.
    skimmed: Option<Skim>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads lines of at most `limit` bytes.
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            limit,
            skimmed: None,
        }
    }

    /// Reads the next line that is not blank; `None` at the end of the input.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            let at_end = bytes.is_empty();
            let break_at = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..break_at.unwrap_or(bytes.len())];
            if self.skimmed.is_none() && self.line.len() + part.len() > self.limit {
                let begun = std::mem::take(&mut self.line);
                self.skimmed.get_or_insert_default().read(&begun);
            }
            match &mut self.skimmed {
                Some(skimmed) => skimmed.read(part),
                None => self.line.extend_from_slice(part),
            }
            let consumed = break_at.map_or(bytes.len(), |position| position + 1);
            self.reader.consume(consumed);
            if !at_end && break_at.is_none() {
                continue;
            }
            if let Some(skimmed) = self.skimmed.take() {
                return Ok(Some(Line::TooLong(skimmed.id())));
            }
            let line = std::mem::take(&mut self.line);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Line::Whole(line)));
            }
            if at_end {
                return Ok(None);
            }
        }
    }
}
