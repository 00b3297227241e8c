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
    /// The first bytes of the last key that passed, and how many of them there are.
    key: ([u8; 4], usize),
}

const HEAD: usize = 5;

/// The kind of the message in which a server tells the id of its process and the secret by which
/// its statements can be cancelled.
const KEY: u8 = b'K';

impl Frames {
    /// Begins before a message with a kind.
    pub(crate) fn typed() -> Self {
        Frames {
            head: [0; HEAD],
            known: 0,
            left: 0,
            key: ([0; 4], 0),
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

    /// The id of the server's process, if it was told.
    pub(crate) fn process(&self) -> Option<i32> {
        let (key, known) = self.key;
        (known == key.len()).then(|| i32::from_be_bytes(key))
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
            if self.head[0] == KEY {
                self.learn(&bytes[..taken]);
            }
            self.left -= taken;
            bytes = &bytes[taken..];
            if self.left == 0 {
                count += usize::from(kinds.contains(&self.head[0]));
                let key = self.key;
                *self = Frames {
                    key,
                    ..Frames::typed()
                };
            }
        }
        count
    }

    fn learn(&mut self, bytes: &[u8]) {
        let (key, known) = &mut self.key;
        for byte in bytes.iter().take(key.len() - *known) {
            key[*known] = *byte;
            *known += 1;
        }
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
    fn the_process_is_known_however_the_key_is_cut() {
        let stream = [SYNC, b"K\0\0\0\x0c\0\0\x01\x02abcd", SYNC].concat();
        for size in 1..=stream.len() {
            let mut frames = Frames::typed();
            assert_eq!(frames.process(), None);
            let counts = stream.chunks(size).map(|part| frames.pass(part, b"S"));
            assert_eq!(counts.sum::<usize>(), 2);
            assert_eq!(frames.process(), Some(258), "in parts of {size}");
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
