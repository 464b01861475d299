//! One HTTP/1.1 request over a connection of its own, as a client.
//!
//! Guarantees: an answer is bounded in size; one that is there in full is taken though the connection has ended.
//! Not here: connecting and TLS (`trust`), how long an answer may take, what it means (`back_end`, `acme`).

use http_body_util::{BodyExt as _, Limited};
use hyper::Request;
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::http::response::Parts;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Failure;

/// The answer: its head, and its body of at most `body_max` bytes.
pub(crate) async fn exchange<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<B>,
    body_max: usize,
) -> Result<(Parts, Bytes), Failure>
where
    B: Body<Data: Send, Error: Into<Failure>> + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asking = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, body_max).collect().await?.to_bytes();
        Ok::<_, Failure>((head, body))
    };
    tokio::pin!(asking);
    tokio::select! {
        answered = &mut asking => answered,
        ended = connection => match ended {
            Ok(()) => asking.await,
            Err(error) => Err(error.into()),
        },
    }
}
