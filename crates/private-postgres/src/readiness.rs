use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::connection::Connection;
use crate::folder::socket_name;

/// How long to wait for one response. A server that is starting responds at once, if only to say so.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Connects as a client would and checks whether the server accepts clients.
///
/// A listening socket is not enough: during crash recovery PostgreSQL accepts connections and responds with error
/// 57P03. The first message of a server that is ready requests or grants authentication (protocol 3.0, "Start-up").
pub(crate) fn probe(connection: &Connection) -> Result<(), String> {
    let socket = connection.socket_dir.join(socket_name(connection.port));
    ask(UnixStream::connect(socket), connection).map_err(|error| error.to_string())
}

fn ask(stream: io::Result<UnixStream>, connection: &Connection) -> io::Result<()> {
    let mut stream = stream?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(&startup_message(&connection.user, &connection.database))?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    match kind[0] {
        b'R' => Ok(()),
        b'E' => Err(io::Error::other(error_text(&mut stream)?)),
        other => Err(io::Error::other(format!(
            "unexpected message {:?}",
            char::from(other)
        ))),
    }
}

fn startup_message(user: &str, database: &str) -> Vec<u8> {
    const PROTOCOL_3_0: i32 = 0x0003_0000;
    let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
    for word in ["user", user, "database", database] {
        body.extend_from_slice(word.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("names are short");
    let mut message = length.to_be_bytes().to_vec();
    message.append(&mut body);
    message
}

/// Reads the field `M` (message) of an ErrorResponse.
fn error_text(stream: &mut UnixStream) -> io::Result<String> {
    const LONGEST: u32 = 64 * 1024;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length).saturating_sub(4).min(LONGEST);
    let mut fields = vec![0; length as usize];
    stream.read_exact(&mut fields)?;
    let text = fields
        .split(|byte| *byte == 0)
        .find_map(|field| field.strip_prefix(b"M"))
        .unwrap_or(b"error without a message");
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answered(answer: &'static [u8]) -> Result<(), String> {
        let (client, mut server) = UnixStream::pair().unwrap();
        server.write_all(answer).unwrap();
        let connection = Connection {
            socket_dir: "/nowhere".into(),
            port: 5432,
            user: "postgres".into(),
            database: "postgres".into(),
        };
        let result = ask(Ok(client), &connection).map_err(|error| error.to_string());
        drop(server);
        result
    }

    #[test]
    fn any_word_about_authentication_means_ready() {
        assert_eq!(answered(b"R\0\0\0\x08\0\0\0\0"), Ok(()));
        assert_eq!(answered(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"), Ok(()));
    }

    #[test]
    fn a_server_in_recovery_is_not_ready_and_says_why() {
        let answer = b"E\0\0\0\x2cSFATAL\0C57P03\0Mstarting up, be patient\0\0";
        assert_eq!(answered(answer), Err("starting up, be patient".into()));
    }

    #[test]
    fn something_that_is_no_postgresql_is_not_ready() {
        assert_eq!(
            answered(b"HTTP/1.1 400"),
            Err("unexpected message 'H'".into())
        );
    }

    #[test]
    fn the_start_up_message_is_the_protocols() {
        assert_eq!(
            startup_message("a", "b"),
            b"\0\0\0\x1b\0\x03\0\0user\0a\0database\0b\0\0"
        );
    }
}
