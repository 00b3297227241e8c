//! Answers plain HTTP on a TLS port, as from `http://` in the place of `https://`.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much of a request is read before its connection is closed. Unread bytes would turn the close
/// into a reset, and the reply would be lost.
const MAX_READ_BYTES: u64 = 64 * 1024;

const REPLY: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 45\r\n\
    Connection: close\r\n\r\n\
    this address speaks TLS; begin with https://\n";

/// Waits for the first byte, and says whether it begins an HTTP method. A TLS handshake begins with
/// another byte.
pub(super) async fn begins(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    Ok(first[0].is_ascii_uppercase())
}

/// Replies with what to do instead, and closes the connection.
pub(super) async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(REPLY.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(MAX_READ_BYTES);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}
