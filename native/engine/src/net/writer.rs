//! The loop of a connection that writes: requests in the order in which they were queued.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_protocol::api::longest_answer;
use brod_protocol::frame::{request_head, MAX_FRAME};
use brod_protocol::legacy::Sent;
use brod_protocol::WireError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::old_broker::rewrite;
use super::wire::{FailOnDrop, Head, Outgoing, Pending, Shared, Turn};
use super::NetError;

/// How long a writer whose peer is gone waits for the reader to find out why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long the end of a connection may take to be said.
const FAREWELL: Duration = Duration::from_secs(1);

/// Writes until the connection fails or its last handle is dropped. What is queued then is dropped, and
/// who waits for it sees that.
pub(super) async fn write_loop<W: AsyncWrite + Unpin>(
    socket: W,
    mut turns: mpsc::UnboundedReceiver<Turn>,
    shared: Arc<Shared>,
) {
    let _guard = FailOnDrop(shared.clone());
    let mut writer = Writer {
        socket,
        shared: shared.clone(),
        correlation_id: 0,
    };
    if let Err(error) = writer.serve(&mut turns).await {
        // The reader may know more: a peer says why it hangs up.
        let _ = timeout(LAST_WORDS, shared.closed.cancelled()).await;
        shared.fail(error);
    }
    shared.hang_up("nobody holds it");
    drop(turns);
    let _ = timeout(FAREWELL, writer.socket.shutdown()).await;
}

async fn next(shared: &Shared, turns: &mut mpsc::UnboundedReceiver<Turn>) -> Option<Turn> {
    tokio::select! {
        biased;
        _ = shared.closed.cancelled() => None,
        turn = turns.recv() => turn,
    }
}

/// Waits as long as the broker has asked for, which may become longer meanwhile.
async fn leave_alone(shared: &Shared) -> Result<(), NetError> {
    loop {
        let until = shared.throttle.lock().heeded_until(Instant::now());
        let Some(until) = until else {
            return Ok(());
        };
        tokio::select! {
            _ = shared.closed.cancelled() => return Err(NetError::Closed),
            _ = tokio::time::sleep_until(until.into()) => {}
        }
    }
}

struct Writer<W> {
    socket: W,
    shared: Arc<Shared>,
    correlation_id: i32,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn serve(&mut self, turns: &mut mpsc::UnboundedReceiver<Turn>) -> Result<(), NetError> {
        while let Some(turn) = next(&self.shared, turns).await {
            match turn {
                Turn::Exclusive(mut turns) => {
                    while let Some(turn) = next(&self.shared, &mut turns).await {
                        self.take(turn).await?;
                    }
                }
                turn => self.take(turn).await?,
            }
        }
        Ok(())
    }

    async fn take(&mut self, turn: Turn) -> Result<(), NetError> {
        match turn {
            Turn::Request(request) => self.request(request).await,
            Turn::Settle(reply) => {
                self.shared.settled().await;
                let _ = reply.send(());
                Ok(())
            }
            Turn::Loan {
                to_broker,
                from_broker,
            } => self.lend(to_broker, from_broker).await,
            // Only a connection has turns to itself, and they are not divided.
            Turn::Exclusive(_) => Ok(()),
        }
    }

    async fn request(&mut self, mut request: Outgoing) -> Result<(), NetError> {
        leave_alone(&self.shared).await?;
        self.correlation_id = self.correlation_id.wrapping_add(1);
        // Without versions they are still being asked for.
        let rewritten = match (&request.head, self.shared.versions.get()) {
            (Head::Request { api_key, version }, Some(versions)) => {
                rewrite(versions, *api_key, *version, &mut request.body)
            }
            _ => Ok(None),
        };
        let rewritten = match rewritten {
            Ok(rewritten) => rewritten,
            Err(error) => {
                let _ = request.reply.send(Err(error.into()));
                return Ok(());
            }
        };
        let head = match request.head {
            Head::Request { api_key, version } => request_head(
                api_key,
                rewritten.as_ref().map_or(version, Sent::version),
                self.correlation_id,
                &self.shared.client_id,
                request.body.len(),
            ),
            Head::Bare => bare_head(request.body.len()),
        };
        let head = match head {
            Ok(head) => head,
            Err(error) => {
                let _ = request.reply.send(Err(error.into()));
                return Ok(());
            }
        };
        let (waits, written) = match (request.expects_response, request.head) {
            (false, _) => (None, Some(request.reply)),
            (true, Head::Bare) => (Some(Pending::Bare(request.reply)), None),
            (true, Head::Request { api_key, version }) => {
                let pending = Pending::Answer {
                    correlation_id: self.correlation_id,
                    api_key,
                    version,
                    // The place where a Fetch says its limit is another one in rewritten ones.
                    longest: match rewritten {
                        Some(_) => MAX_FRAME,
                        // Fields at the beginning, which are in one piece.
                        None => longest_answer(api_key, version, request.body.chunk()),
                    },
                    rewritten,
                    asked: (Instant::now(), head.len() + request.body.len()),
                    reply: request.reply,
                };
                (Some(pending), None)
            }
        };
        if let Some(pending) = waits {
            if !self.shared.expect(pending) {
                return Err(NetError::Closed);
            }
        }
        let result = self.write(head.chain(request.body)).await;
        if let Some(reply) = written {
            let _ = reply.send(result.clone().map(|()| Bytes::new()));
        }
        result
    }

    async fn write(&mut self, mut bytes: impl Buf) -> Result<(), NetError> {
        self.shared.touch();
        self.shared.broker.bytes_sent.add(bytes.remaining() as u64);
        tokio::select! {
            biased;
            result = async {
                self.socket.write_all_buf(&mut bytes).await?;
                // TLS may still hold what it has encrypted.
                self.socket.flush().await
            } => Ok(result?),
            _ = self.shared.closed.cancelled() => Err(NetError::Closed),
        }
    }

    async fn lend(
        &mut self,
        mut to_broker: mpsc::Receiver<Bytes>,
        from_broker: mpsc::Sender<Bytes>,
    ) -> Result<(), NetError> {
        if !self.shared.expect(Pending::Loan(from_broker)) {
            return Err(NetError::Closed);
        }
        loop {
            let bytes = tokio::select! {
                biased;
                _ = self.shared.closed.cancelled() => return Err(NetError::Closed),
                bytes = to_broker.recv() => bytes,
            };
            match bytes {
                Some(bytes) => self.write(bytes).await?,
                None => break,
            }
        }
        // Nothing was written behind the loan, so it is the last that waits.
        self.shared.pending.lock().pop_back();
        Ok(())
    }
}

fn bare_head(len: usize) -> Result<Bytes, WireError> {
    let len =
        i32::try_from(len).map_err(|_| WireError::Malformed("token larger than 2 GiB".into()))?;
    let mut head = BytesMut::with_capacity(4);
    head.put_i32(len);
    Ok(head.freeze())
}
