//! Many requests in few system calls.

use nix::errno::Errno;

use super::{Error, Refusal, Request, Socket, refusal};

/// Requests in one send. More do not go faster, and the kernel's refusals must fit the receive buffer.
const REQUESTS: usize = 512;
/// Bytes in one send: well below the default send buffer (208 KiB).
const BYTES: usize = 96 * 1024;

impl Socket {
    /// Makes the requests in order and returns those that the kernel refused, by index. A refusal does not keep the
    /// kernel from the requests behind it.
    ///
    /// Only the last request of a send asks for an acknowledgement: refusals come without being asked for, carry
    /// the sequence number of their request and come before it.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn batch(&mut self, requests: &[Request]) -> Result<Vec<(usize, Refusal)>, Error> {
        let mut refused = Vec::new();
        let mut start = 0;
        while start < requests.len() {
            let end = start + chunk(&requests[start..]);
            match self.send_chunk(&requests[start..end]) {
                Ok(some) => refused.extend(some.into_iter().map(|(i, r)| (start + i, r))),
                // Refusals were lost. Every request tolerates being made again, so ask one by one.
                Err(error) if error.errno() == Errno::ENOBUFS => {
                    for (index, request) in requests.iter().enumerate().take(end).skip(start) {
                        match self.execute(request) {
                            Ok(()) => {}
                            Err(Error::Refused(refusal)) => refused.push((index, refusal)),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
            start = end;
        }
        Ok(refused)
    }

    /// Makes requests of a subsystem of nfnetlink, all or none.
    ///
    /// # Errors
    /// When the kernel refuses one of them or the socket fails.
    pub(crate) fn transaction(&mut self, subsystem: u8, requests: &[Request]) -> Result<(), Error> {
        const NFNL_MSG_BATCH_BEGIN: u16 = 16;
        const NFNL_MSG_BATCH_END: u16 = 17;
        let bracket = |kind| Request::new(kind, 0, &[0, 0, 0, subsystem]);
        let mut out = Vec::new();
        let first = self.next_sequence();
        bracket(NFNL_MSG_BATCH_BEGIN).write(&mut out, 0, first);
        for request in requests {
            // Every request asks: before Linux 6.10 the end of a transaction is not acknowledged.
            let sequence = self.next_sequence();
            request.write(&mut out, libc::NLM_F_ACK, sequence);
        }
        let last = self.sequence;
        let end = self.next_sequence();
        bracket(NFNL_MSG_BATCH_END).write(&mut out, 0, end);
        self.send(&out)?;
        loop {
            for message in self.receive()? {
                let index = message.sequence.wrapping_sub(first) as usize;
                if index > requests.len() || i32::from(message.kind) != libc::NLMSG_ERROR {
                    continue;
                }
                if let Some(refusal) = refusal(&message) {
                    return Err(Error::Refused(refusal));
                }
                if message.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    fn send_chunk(&mut self, requests: &[Request]) -> Result<Vec<(usize, Refusal)>, Error> {
        let mut out = Vec::with_capacity(requests.iter().map(Request::len).sum());
        let first = self.next_sequence();
        let last = first.wrapping_add(requests.len() as u32 - 1);
        for (index, request) in requests.iter().enumerate() {
            let sequence = first.wrapping_add(index as u32);
            let flags = if sequence == last { libc::NLM_F_ACK } else { 0 };
            request.write(&mut out, flags, sequence);
        }
        self.sequence = last;
        self.send(&out)?;
        let mut refused = Vec::new();
        loop {
            for message in self.receive()? {
                let index = message.sequence.wrapping_sub(first) as usize;
                if index >= requests.len() || i32::from(message.kind) != libc::NLMSG_ERROR {
                    continue;
                }
                refused.extend(refusal(&message).map(|refusal| (index, refusal)));
                if message.sequence == last {
                    return Ok(refused);
                }
            }
        }
    }
}

/// How many of these requests go into the next send; at least one.
fn chunk(requests: &[Request]) -> usize {
    let mut bytes = 0;
    requests
        .iter()
        .take(REQUESTS)
        .take_while(|request| {
            bytes += request.len();
            bytes <= BYTES
        })
        .count()
        .max(1)
}
