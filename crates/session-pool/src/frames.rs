//! Where the messages of PostgreSQL's protocol begin and end in a stream of bytes.
//!
//! A message is a kind, one byte, and a length, four bytes, which counts itself (PostgreSQL
//! documentation, section 55.7). Only the client's first one has no kind.

/// The place in one direction of a connection.
#[derive(Debug)]
pub(crate) struct Frames {
    /// What is known of the next message's head; its first byte is the kind.
    head: [u8; HEAD],
    known: usize,
    /// Bytes of the message that are still to come.
    left: usize,
}

const HEAD: usize = 5;

impl Frames {
    /// Begins before a message with a kind.
    pub(crate) fn typed() -> Self {
        Frames {
            head: [0; HEAD],
            known: 0,
            left: 0,
        }
    }

    /// Begins before a message without one, which is a client's first.
    pub(crate) fn untyped_first() -> Self {
        Frames {
            known: 1,
            ..Frames::typed()
        }
    }

    /// Says whether no message has begun.
    pub(crate) fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }

    /// Goes over bytes; counts the messages of the given kinds whose last byte is among them.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], kinds: &[u8]) -> usize {
        let mut count = 0;
        while !bytes.is_empty() {
            if self.known < HEAD {
                let taken = bytes.len().min(HEAD - self.known);
                self.head[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
                self.known += taken;
                bytes = &bytes[taken..];
                if self.known < HEAD {
                    break;
                }
                let [_, length @ ..] = self.head;
                self.left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            bytes = &bytes[taken..];
            if self.left == 0 {
                count += usize::from(kinds.contains(&self.head[0]));
                *self = Frames::typed();
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: &[u8] = b"S\0\0\0\x04";
    const QUERY: &[u8] = b"Q\0\0\0\x07ab\0";

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let stream = [b"\0\0\0\x08\0\x03\0\0", SYNC, QUERY, SYNC].concat();
        for size in 1..=stream.len() {
            let mut frames = Frames::untyped_first();
            let counts = stream.chunks(size).map(|part| frames.pass(part, b"SQ"));
            assert_eq!(counts.sum::<usize>(), 3, "in parts of {size}");
            assert!(frames.is_between());
        }
    }

    #[test]
    fn a_message_that_has_begun_is_not_between_two() {
        for length in 1..QUERY.len() {
            let mut frames = Frames::typed();
            assert_eq!(frames.pass(&QUERY[..length], b"Q"), 0);
            assert!(!frames.is_between(), "after {length} bytes");
        }
    }
}
