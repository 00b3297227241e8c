//! One exchange with PostgreSQL: several statements sent at once, their answers read as they come.
//!
//! It speaks the extended protocol (PostgreSQL documentation, section 55.2.3) with one `Sync` at
//! the end, so that everything costs one write, one read and one "ready"; after a statement that
//! fails, PostgreSQL skips the others. Values travel as text, as the output functions of their
//! types write them, except where [`form`] says otherwise.

mod form;
mod row;
mod steps;

use std::{io, sync::Arc};

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend;

use crate::{
    Complaint,
    shared::{Lender, Loan},
    statements::Statements,
    wire::Stream,
};
use steps::{Ends, Sent};

pub(crate) use form::{DateStyle, Form};
pub use row::{Row, Value};
pub use steps::{Parameter, Step};

/// A part of an answer.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The columns of the rows of a [`Step::Query`].
    Columns(Arc<[Column]>),
    /// A row of that query.
    Row(Row<'a>),
    /// A row is larger than wanted. Neither it nor what follows it is read: drop the lease.
    Oversized {
        /// The bytes of the row's values, roughly.
        bytes: usize,
    },
    /// A step failed, and the steps after it were skipped.
    Refused {
        /// The number of the step, from 0.
        step: usize,
        /// Why.
        complaint: Complaint,
        /// Whether the only reason is that the statement was prepared earlier. That is forgotten
        /// now, and the same exchange will prepare it anew.
        is_stale: bool,
    },
    /// The exchange is over.
    Ready {
        /// Whether a transaction is still open.
        in_transaction: bool,
    },
}

/// A column as PostgreSQL describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Arc<str>,
    /// The type's number in `pg_type`.
    pub type_oid: u32,
    /// The table's number in `pg_class` and the column's number in the table, if the values are
    /// those of a table's column.
    pub origin: Option<(u32, i16)>,
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "PostgreSQL sent a message in an unknown form",
    )
}

fn replaced() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "another statement was prepared in the place of one of the server's own",
    )
}

/// What a connection needs to hold exchanges.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) lender: Lender<Stream>,
    pub(crate) statements: Statements,
    pub(crate) buffer: BytesMut,
}

/// How much is read at once; a buffer that has grown past `LARGEST_KEPT` is not kept.
const READ_SIZE: usize = 8 << 10;
const LARGEST_READ: usize = 64 << 10;
const LARGEST_KEPT: usize = 16 << 10;
/// The head of a message: its kind and its length.
const HEAD: usize = 5;

/// An exchange that was sent. Read it up to [`Answer::Ready`]; dropped before that, it leaves a
/// connection that can no longer be used.
pub struct Exchange<'a> {
    statements: &'a mut Statements,
    buffer: &'a mut BytesMut,
    /// `None` when the exchange is over.
    loan: Option<Loan<Stream>>,
    largest_row: usize,
    /// The steps that were sent and have an answer of their own.
    steps: Vec<Sent>,
    /// The step that the next message belongs to, as an index of `steps`.
    current: usize,
    /// Bytes of the message that the caller was given last.
    handed: usize,
    read_size: usize,
    /// The command tag of a [`Step::Few`] that ran to its end.
    done: Option<String>,
}

impl Means {
    /// Sends steps; a row with more bytes than `largest_row` ends it.
    pub(crate) async fn exchange(
        &mut self,
        steps: &[Step<'_>],
        largest_row: usize,
    ) -> io::Result<Exchange<'_>> {
        let mut loan = self.lender.borrow().await?;
        self.buffer.clear();
        let sent = match steps::write(&mut self.buffer, &mut self.statements, steps) {
            Ok(sent) => sent,
            Err(error) => {
                // Nothing was sent, so the connection is as it was.
                self.buffer = BytesMut::new();
                loan.give_back(&mut self.buffer);
                return Err(error);
            }
        };
        loan.send(&self.buffer).await?;
        self.buffer.clear();
        Ok(Exchange {
            statements: &mut self.statements,
            buffer: &mut self.buffer,
            loan: Some(loan),
            largest_row,
            steps: sent,
            current: 0,
            handed: 0,
            read_size: READ_SIZE,
            done: None,
        })
    }
}

impl Exchange<'_> {
    /// Says whether PostgreSQL has run the first step.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.current > 0
    }

    /// Gives PostgreSQL's command tag of a [`Step::Few`], such as `UPDATE 3`; `None` when there
    /// were more rows than it asked for.
    #[must_use]
    pub fn done(&self) -> Option<&str> {
        self.done.as_deref()
    }

    /// Waits for the next part of the answer; after [`Answer::Ready`] there is none.
    ///
    /// # Errors
    /// When the connection is lost, or the answer is longer than the limits allow; the connection is
    /// of no use then.
    pub async fn next(&mut self) -> io::Result<Answer<'_>> {
        if self.loan.is_none() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.buffer.advance(std::mem::take(&mut self.handed));
        loop {
            let (kind, length) = self.message().await?;
            if let Some(columns) = self.known_columns(kind) {
                return Ok(Answer::Columns(columns));
            }
            let is_row = kind == b'D' && self.has_rows();
            if is_row && length > self.largest_row {
                return self.oversized(length).await;
            }
            while self.buffer.len() < HEAD + length {
                self.receive(HEAD + length).await?;
            }
            match kind {
                b'D' if is_row => {
                    self.handed = HEAD + length;
                    let body = &self.buffer[HEAD..HEAD + length];
                    let forms = self.steps[self.current].forms.as_deref();
                    return Ok(Answer::Row(Row::in_forms(body, forms.unwrap_or_default())));
                }
                b'T' => match self.columns()? {
                    Some(columns) => return Ok(Answer::Columns(columns)),
                    None => continue,
                },
                b'E' => return self.refused(),
                b'Z' => return self.ready(),
                b'1' => self.parsed(),
                b'C' => self.completed(length)?,
                b'I' | b's' => self.current += 1,
                b'S' => {
                    self.set()?;
                    continue;
                }
                b'n' => self.pass(Ends::Described),
                b'2' => self.pass(Ends::Bound),
                // Closed, parameters, rows that nobody wants, and what PostgreSQL says unasked.
                b'3' | b't' | b'D' | b'N' | b'A' => {}
                _ => return Err(malformed()),
            }
            self.buffer.advance(HEAD + length);
        }
    }

    /// Gives the columns of the step that begins to answer, if they are known and the caller has
    /// not had them yet.
    fn known_columns(&mut self, kind: u8) -> Option<Arc<[Column]>> {
        let has_begun = matches!(kind, b'D' | b'C' | b's' | b'I');
        let sent = self.steps.get_mut(self.current).filter(|_| has_begun)?;
        sent.columns.take()
    }

    fn has_rows(&self) -> bool {
        let sent = self.steps.get(self.current);
        sent.is_some_and(|sent| sent.has_rows)
    }

    /// Waits for the head of a message; gives its kind and the length of its body.
    async fn message(&mut self) -> io::Result<(u8, usize)> {
        loop {
            if let Some(head) = backend::Header::parse(self.buffer)? {
                let length = usize::try_from(head.len() - 4).map_err(|_| malformed())?;
                return Ok((head.tag(), length));
            }
            self.receive(HEAD).await?;
        }
    }

    /// Receives some bytes, into a buffer that will hold `wanted`.
    async fn receive(&mut self, wanted: usize) -> io::Result<()> {
        let loan = self.loan.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let missing = wanted.saturating_sub(self.buffer.len());
        self.buffer
            .reserve(missing.min(LARGEST_READ).max(self.read_size));
        let before = self.buffer.len();
        loan.receive(self.buffer).await?;
        if self.buffer.len() - before >= self.read_size {
            self.read_size = LARGEST_READ;
        }
        Ok(())
    }

    async fn oversized(&mut self, length: usize) -> io::Result<Answer<'_>> {
        while self.buffer.len() < HEAD + 2 {
            self.receive(HEAD + 2).await?;
        }
        let count = u16::from_be_bytes([self.buffer[HEAD], self.buffer[HEAD + 1]]);
        self.loan = None;
        let bytes = length.saturating_sub(2 + 4 * usize::from(count));
        Ok(Answer::Oversized { bytes })
    }

    fn parsed(&mut self) {
        if let Some(sent) = self.steps.get_mut(self.current) {
            sent.prepares = None;
        }
        self.pass(Ends::Parsed);
    }

    /// Goes on to the next step, if this one ends so.
    fn pass(&mut self, ends: Ends) {
        let sent = self.steps.get(self.current);
        self.current += usize::from(sent.is_some_and(|sent| sent.ends == ends));
    }

    /// Takes note of a setting that has changed.
    fn set(&mut self) -> io::Result<()> {
        let Some(backend::Message::ParameterStatus(body)) = backend::Message::parse(self.buffer)?
        else {
            return Err(malformed());
        };
        self.statements.heed(body.name()?, body.value()?);
        Ok(())
    }

    fn completed(&mut self, length: usize) -> io::Result<()> {
        let tag = &self.buffer[HEAD..HEAD + length];
        let tag = tag.strip_suffix(b"\0").unwrap_or(tag);
        if let Some(sent) = self.steps.get(self.current) {
            let name = sent.prepared.filter(|_| !sent.has_rows);
            if name.is_some_and(|name| !self.statements.has_tag(name, tag)) {
                return Err(replaced());
            }
            if sent.is_told {
                self.done = Some(String::from_utf8_lossy(tag).into_owned());
            }
        }
        self.current += 1;
        Ok(())
    }

    /// Reads the columns of a step; those of a step that only locks are given when it is run.
    fn columns(&mut self) -> io::Result<Option<Arc<[Column]>>> {
        let Some(backend::Message::RowDescription(body)) = backend::Message::parse(self.buffer)?
        else {
            return Err(malformed());
        };
        let columns = body.fields().map(|field| {
            Ok::<_, io::Error>(Column {
                name: field.name().into(),
                type_oid: field.type_oid(),
                origin: (field.table_oid() != 0).then(|| (field.table_oid(), field.column_id())),
            })
        });
        let columns: Arc<[Column]> = columns.collect::<Vec<_>>()?.into();
        let Some(sent) = self.steps.get(self.current) else {
            return Ok(Some(columns));
        };
        let (ends, prepared) = (sent.ends, sent.prepared);
        if let Some(name) = prepared.or(sent.prepares) {
            self.statements.learn(name, &columns);
        }
        if ends != Ends::Described {
            return Ok(Some(columns));
        }
        self.pass(ends);
        let mut further = self.steps[self.current..].iter_mut();
        if let Some(run) = further.find(|sent| sent.has_rows && sent.prepared == prepared) {
            run.columns = Some(columns);
        }
        Ok(None)
    }

    fn refused(&mut self) -> io::Result<Answer<'static>> {
        let Some(backend::Message::ErrorResponse(body)) = backend::Message::parse(self.buffer)?
        else {
            return Err(malformed());
        };
        let complaint = Complaint::read(&body);
        // What the skipped steps were to prepare is not prepared.
        for unprepared in self.steps.iter().filter_map(|sent| sent.prepares) {
            self.statements.forget(unprepared);
        }
        let sent = self.steps.get(self.current);
        let is_stale = match complaint.code().code() {
            // PostgreSQL does not know a name, or knows it already: a pooler stands between. A
            // statement that is itself about such names may fail the same way.
            "26000" | "42P05" if !sent.is_some_and(|sent| sent.is_told) => {
                self.statements.give_up();
                true
            }
            // The prepared statement has other columns now.
            "0A000" => sent.and_then(|sent| sent.prepared).is_some_and(|name| {
                self.statements.evict(name);
                true
            }),
            _ => false,
        };
        Ok(Answer::Refused {
            step: sent.map_or(0, |sent| sent.step),
            complaint,
            is_stale,
        })
    }

    fn ready(&mut self) -> io::Result<Answer<'static>> {
        let Some(backend::Message::ReadyForQuery(body)) = backend::Message::parse(self.buffer)?
        else {
            return Err(malformed());
        };
        let loan = self.loan.take().ok_or(io::ErrorKind::NotConnected)?;
        loan.give_back(self.buffer);
        if self.buffer.capacity() > LARGEST_KEPT {
            *self.buffer = BytesMut::new();
        }
        Ok(Answer::Ready {
            in_transaction: body.status() != b'I',
        })
    }
}
