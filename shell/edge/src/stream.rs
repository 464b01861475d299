//! A connection's bytes, whether TLS is around them or not.
//!
//! Guarantees: of what was read nothing stays with TLS.

use std::io::{self, IoSlice, Read};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroize as _;

/// What HTTP is read from and written to.
pub(crate) enum Stream {
    /// On this machine, or behind a proxy that speaks TLS.
    Clear(TcpStream),
    /// On the heap: a TLS session is a kilobyte.
    Sealed(Box<TlsStream<TcpStream>>),
}

/// Reads nothing and says so, having overwritten the room that it was given.
///
/// rustls decrypts where it reads, and leaves a record there until another as long has come: some chat or a name, for
/// as long as a client says nothing. All that it does not need of its buffer is room for the next read.
struct Eraser;

impl Read for Eraser {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        room.zeroize();
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => pin!(stream).poll_read(context, buffer),
            Self::Sealed(stream) => {
                let had = buffer.filled().len();
                let read = pin!(&mut *stream).poll_read(context, buffer);
                if buffer.filled().len() > had {
                    // Its error is the eraser's.
                    stream.get_mut().1.read_tls(&mut Eraser).ok();
                }
                read
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => pin!(stream).poll_write(context, bytes),
            Self::Sealed(stream) => pin!(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => pin!(stream).poll_flush(context),
            Self::Sealed(stream) => pin!(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => pin!(stream).poll_shutdown(context),
            Self::Sealed(stream) => pin!(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => pin!(stream).poll_write_vectored(context, slices),
            Self::Sealed(stream) => pin!(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Sealed(stream) => stream.is_write_vectored(),
        }
    }
}
