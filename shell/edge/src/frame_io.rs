//! A connection that hands a WebSocket no byte beyond the frame that it reads.
//!
//! Owns: where one frame, and one message, ends (RFC 6455 §5.2, §5.4).
//! Guarantees: a reader that has had a whole frame holds nothing of the next one, so that it may be replaced there. A
//! reader's buffer stays as large as the largest frame, 2 MiB, for as long as there is the reader. What was handed out
//! is overwritten here. A payload is handed out once there is room for it.
//! Not here: how much room there is, and how long a message may take (`unfinished`), what a frame says, and whether it
//! may be sent (`socket`).

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroize as _;

use crate::unfinished::Message;

/// Bytes read from the socket at once: most messages are a few hundred.
const READ_BUFFER: usize = 512;

/// Of a head, before what tells how long it is.
const HEAD_MIN: usize = 2;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;
const MASKED: u8 = 0x80;
/// Of a head's first byte: the message ends with this frame; it is none of a message, and may come between those that
/// are.
const FINAL: u8 = 0x80;
const CONTROL: u8 = 0x08;
/// Bytes that one of those may have (RFC 6455 §5.5). A longer one is refused once it is whole, and takes room until
/// then.
const CONTROL_MAX: u64 = 125;

/// Reads frame by frame; writes as it is.
pub(crate) struct FrameIo<T> {
    /// `None` once it was taken.
    io: Option<T>,
    read: Read,
    at: At,
    /// The first byte of the frame's head.
    first: u8,
    /// Whether frames of a message have come and not its last.
    is_amid: bool,
    message: Message,
}

/// What was read and not handed out.
#[derive(Debug)]
struct Read {
    buffer: Box<[u8; READ_BUFFER]>,
    /// Zero but here.
    there: Range<usize>,
}

impl Read {
    fn new() -> Self {
        Self { buffer: Box::new([0; READ_BUFFER]), there: 0..0 }
    }

    fn fill<T: AsyncRead + Unpin>(
        &mut self,
        io: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.there.is_empty() {
            let mut buffer = ReadBuf::new(&mut *self.buffer);
            ready!(Pin::new(io).poll_read(context, &mut buffer))?;
            self.there = 0..buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }

    /// At most so many bytes that were read, which [`Self::forget`] is to be told of.
    fn bytes(&self, len_max: usize) -> &[u8] {
        let there = self.buffer.get(self.there.clone()).unwrap_or_default();
        there.get(..len_max).unwrap_or(there)
    }

    fn forget(&mut self, len: usize) {
        let end = self.there.end.min(self.there.start + len);
        if let Some(bytes) = self.buffer.get_mut(self.there.start..end) {
            bytes.zeroize();
        }
        self.there.start = end;
    }
}

/// Where the next byte lies.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In a head, behind so many bytes of it. Its second byte, if it is among them, and the length that follows that.
    Head { seen: usize, second: u8, length: u64 },
    /// In a payload of which so many bytes are to come: never none.
    Payload(u64),
}

impl At {
    const START: Self = Self::Head { seen: 0, second: 0, length: 0 };

    const fn is_start(self) -> bool {
        matches!(self, Self::Head { seen: 0, .. })
    }

    /// How many bytes the frame has at least from here on: never none.
    fn ahead(self) -> usize {
        match self {
            Self::Head { seen, second, .. } if seen >= HEAD_MIN => head_len(second) - seen,
            Self::Head { seen, .. } => HEAD_MIN - seen,
            Self::Payload(left) => usize::try_from(left).unwrap_or(usize::MAX),
        }
    }

    /// Behind `bytes`, which are at most [`Self::ahead`].
    fn behind(self, bytes: &[u8]) -> Self {
        match self {
            Self::Payload(left) => match left.saturating_sub(bytes.len() as u64) {
                0 => Self::START,
                left => Self::Payload(left),
            },
            Self::Head { .. } => bytes.iter().fold(self, |at, byte| at.behind_byte(*byte)),
        }
    }

    fn behind_byte(self, byte: u8) -> Self {
        let Self::Head { seen, mut second, mut length } = self else { return self };
        if seen + 1 == HEAD_MIN {
            second = byte;
        } else if (HEAD_MIN..HEAD_MIN + length_len(second)).contains(&seen) {
            length = length << 8 | u64::from(byte);
        }
        let seen = seen + 1;
        if seen < HEAD_MIN || seen < head_len(second) {
            return Self::Head { seen, second, length };
        }
        let length = if length_len(second) == 0 { u64::from(second & !MASKED) } else { length };
        if length == 0 { Self::START } else { Self::Payload(length) }
    }
}

/// Bytes of the length that does not fit the second byte.
const fn length_len(second: u8) -> usize {
    match second & !MASKED {
        LENGTH_16 => 2,
        LENGTH_64 => 8,
        _ => 0,
    }
}

const fn head_len(second: u8) -> usize {
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    HEAD_MIN + length_len(second) + mask
}

impl<T: AsyncRead> FrameIo<T> {
    pub(crate) fn new(io: T, message: Message) -> Self {
        let (read, at) = (Read::new(), At::START);
        Self { io: Some(io), read, at, first: 0, is_amid: false, message }
    }
}

impl<T> FrameIo<T> {
    /// The same, for another reader that goes on where this one's has got to. What is left reads and writes nothing.
    pub(crate) fn hand_over(&mut self) -> Self {
        let read = std::mem::replace(&mut self.read, Read::new());
        let message = self.message.hand_over();
        Self { io: self.io.take(), read, message, ..*self }
    }

    /// Nothing of what still comes is kept, nor waited for.
    pub(crate) fn give_up(&mut self) {
        self.message.give_up();
    }

    fn io(&mut self) -> io::Result<&mut T> {
        self.io.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FrameIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, read, at, first, is_amid, message } = self.get_mut();
        let io = io.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let filled = read.fill(io, context);
        ready!(message.in_time(context, filled))?;
        let bytes = read.bytes(at.ahead().min(buffer.remaining()));
        let [byte, ..] = bytes else { return Poll::Ready(Ok(())) };
        if at.is_start() {
            *first = *byte;
            message.begin();
        }
        let next = at.behind(bytes);
        let is_control = *first & CONTROL != 0;
        if let (At::Head { .. }, At::Payload(len)) = (*at, next)
            && !(is_control && len <= CONTROL_MAX)
        {
            ready!(message.poll_room(context, len, *first & FINAL != 0))?;
        }
        *at = next;
        buffer.put_slice(bytes);
        let len = bytes.len();
        read.forget(len);
        if at.is_start() {
            *is_amid = if is_control { *is_amid } else { *first & FINAL == 0 };
            if !*is_amid {
                message.end();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io()?).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::unfinished::tests::exhausted;
    use crate::unfinished::{Unfinished, is_late};
    use wire::limits::FRAME_MAX;

    fn frames_of(bytes: &[u8]) -> FrameIo<&[u8]> {
        FrameIo::new(bytes, Unfinished::default().of_connection(Duration::from_secs(10)))
    }

    /// A frame with a payload of so many bytes.
    fn frame(len: usize, mask: bool) -> Vec<u8> {
        let mask_bit = if mask { MASKED } else { 0 };
        let mut frame = vec![0x82];
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len @ ..LENGTH_16), _) => frame.push(mask_bit | len),
            (_, Ok(len)) => {
                frame.push(mask_bit | LENGTH_16);
                frame.extend(len.to_be_bytes());
            }
            (_, Err(_)) => {
                frame.push(mask_bit | LENGTH_64);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        if mask {
            frame.extend([0xff; 4]);
        }
        frame.extend((0..len).map(|index| u8::try_from(index % 251).unwrap()));
        frame
    }

    #[test]
    fn no_read_goes_beyond_the_frame_and_all_arrives() {
        let lens = [0, 1, 125, 126, 200, 65_535, 65_536, 3, 0];
        for mask in [false, true] {
            let frames: Vec<_> = lens.iter().map(|len| frame(*len, mask)).collect();
            let all = frames.concat();
            for at_once in [1, 3, 100, 1 << 20] {
                let mut io = frames_of(&all);
                let mut buffer = vec![0; at_once];
                for frame in &frames {
                    let mut read: Vec<u8> = Vec::new();
                    while read.len() < frame.len() {
                        let len = io.read(&mut buffer).now_or_never().unwrap().unwrap();
                        assert_ne!(len, 0);
                        read.extend(&buffer[..len]);
                    }
                    assert_eq!(read, *frame, "{} bytes, {at_once} at once", frame.len());
                }
                assert_eq!(io.read(&mut buffer).now_or_never().unwrap().unwrap(), 0, "the end");
            }
        }
    }

    #[test]
    fn what_was_handed_out_is_in_the_buffer_no_more() {
        let all = [frame(9, true), frame(7, true)].concat();
        let mut io = frames_of(&all);
        let mut read = vec![0; 15];
        io.read_exact(&mut read).now_or_never().unwrap().unwrap();
        assert_eq!(io.read.buffer[15..all.len()], all[15..], "what was not is");
        assert!(io.read.buffer[..15].iter().all(|byte| *byte == 0));
    }

    #[tokio::test]
    async fn what_has_begun_has_its_time_and_who_has_said_all_has_more() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let node = Unfinished::default();
        let mut io = FrameIo::new(server, node.of_connection(Duration::ZERO));
        let [mut whole, mut begun, mut last, mut ping] = [(); 4].map(|()| frame(5, true));
        (begun[0], last[0], ping[0]) = (0x02, 0x80, 0x89);
        whole.extend(&ping);
        client.write_all(&whole).await.unwrap();
        let mut read = vec![0; 100];
        io.read_exact(&mut read[..whole.len()]).await.unwrap();
        assert!(io.read(&mut read).now_or_never().is_none(), "nothing has begun");
        // A message in two frames with a ping between them: after the first and after the ping it is amid.
        for piece in [&begun, &ping] {
            client.write_all(piece).await.unwrap();
            io.read_exact(&mut read[..piece.len()]).await.unwrap();
            assert!(io.is_amid);
        }
        assert!(is_late(&io.read(&mut read).await.unwrap_err()));
        client.write_all(&last).await.unwrap();
        io.read_exact(&mut read[..last.len()]).await.unwrap();
        assert!(io.read(&mut read).now_or_never().is_none(), "it is whole");
    }

    #[tokio::test]
    async fn a_control_frame_of_any_length_that_one_may_not_have_needs_room() {
        let node = Unfinished::default();
        let others = exhausted(&node);
        for (len, comes) in [(125, true), (FRAME_MAX, false)] {
            let mut ping = frame(len, true);
            ping[0] = 0x89;
            let mut io = FrameIo::new(&*ping, node.of_connection(Duration::from_secs(10)));
            let mut read = vec![0; ping.len()];
            assert_eq!(io.read_exact(&mut read).now_or_never().is_some(), comes, "{len}");
            io.give_up();
            assert!(io.read(&mut read).now_or_never().is_some(), "nothing is waited for");
        }
        drop(others);
    }

    #[test]
    fn another_reader_goes_on_where_one_was_and_that_one_has_nothing() {
        let (first, second) = (frame(300, true), frame(7, true));
        let all = [&*first, &*second].concat();
        let mut io = frames_of(&all);
        let mut read = vec![0; first.len() - 100];
        io.read_exact(&mut read).now_or_never().unwrap().unwrap();
        let mut other = io.hand_over();
        assert!(io.read(&mut read).now_or_never().unwrap().is_err());
        let mut rest = Vec::new();
        other.read_to_end(&mut rest).now_or_never().unwrap().unwrap();
        assert_eq!(rest, all[first.len() - 100..]);
    }
}
