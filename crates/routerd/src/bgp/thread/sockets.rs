//! Connections: they come in, are made, carry octets, and end.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use bgp::{ConnId, Input};
use linux::tcp::{self, Dial};
use mio::event::{Event, Source};
use mio::net::TcpStream;
use mio::{Interest, Token};

use super::super::connection::{Connection, Received};
use super::{FIRST, Thread};

/// Connections that could not be accepted are tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

impl Thread {
    /// Takes connections that came in.
    pub(super) fn accept(&mut self) {
        self.accept_again = None;
        while let Some(listener) = &self.listener {
            match listener.socket.accept() {
                Ok((stream, remote)) => self.accepted(stream, remote),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "accept a BGP connection");
                    self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    pub(super) fn accepted(&mut self, stream: TcpStream, remote: SocketAddr) {
        let IpAddr::V4(address) = remote.ip() else {
            return;
        };
        let Some(reach) = self.reaches.of(address) else {
            tracing::debug!(%address, "a BGP connection of nobody's");
            return;
        };
        let stream = std::net::TcpStream::from(stream);
        if let Err(error) = tcp::adopt(&stream, reach.ttl) {
            tracing::warn!(%error, %address, "take a BGP connection");
            return;
        }
        let Some(conn) = self.register(TcpStream::from_std(stream), remote.ip(), true) else {
            return;
        };
        let local = self.connections.get(&conn).and_then(|c| c.local().ok());
        match local {
            Some(local) => {
                let remote = remote.ip();
                self.handle(Input::Accepted {
                    conn,
                    local,
                    remote,
                });
            }
            None => self.forget(conn),
        }
    }

    pub(super) fn register(
        &mut self,
        mut stream: TcpStream,
        remote: IpAddr,
        open: bool,
    ) -> Option<ConnId> {
        let conn = ConnId(self.next);
        self.next += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(FIRST + conn.0 as usize);
        if let Err(error) = stream.register(self.poll.registry(), token, interest) {
            tracing::warn!(%error, %remote, "watch a BGP connection");
            return None;
        }
        self.connections
            .insert(conn, Connection::new(stream, remote, open));
        if open {
            self.unread.insert(conn);
        }
        Some(conn)
    }

    pub(super) fn connect(&mut self, remote: IpAddr, port: u16, local: Option<IpAddr>) {
        let opened = match (remote, local) {
            (IpAddr::V4(remote), None) => self.dial(SocketAddrV4::new(remote, port), None),
            (IpAddr::V4(remote), Some(IpAddr::V4(local))) => {
                self.dial(SocketAddrV4::new(remote, port), Some(local))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        match opened {
            Ok(stream) => {
                if let Some(conn) = self.register(stream, remote, false) {
                    self.dials.insert(remote, conn);
                }
            }
            Err(error) => {
                let reason = error.to_string();
                self.handle(Input::ConnectFailed { remote, reason });
            }
        }
    }

    pub(super) fn dial(
        &self,
        remote: SocketAddrV4,
        local: Option<Ipv4Addr>,
    ) -> io::Result<TcpStream> {
        let reach = self.reaches.of(*remote.ip());
        let reach = reach.ok_or_else(|| io::Error::other("nobody's address"))?;
        let listen = self.intent.as_ref().map(|intent| *intent.listen.ip());
        let stream = tcp::dial(Dial {
            remote,
            // A speaker that listens on one address is known by it.
            local: local.or(listen.filter(|address| !address.is_unspecified())),
            password: reach.password.as_ref().map(|password| password.reveal()),
            ttl: reach.ttl,
        })?;
        Ok(TcpStream::from_std(stream))
    }

    /// Something can be done with a connection.
    pub(super) fn ready(&mut self, conn: ConnId, event: &Event) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.ends |= event.is_read_closed();
        if connection.open {
            if event.is_readable() || event.is_read_closed() {
                self.unread.insert(conn);
            }
            if event.is_writable() {
                connection.can_write();
                self.flush(conn);
            }
            return;
        }
        let Some(opened) = connection.opened() else {
            return;
        };
        let remote = connection.remote;
        let local = opened.and_then(|_| connection.local());
        self.dials.remove(&remote);
        match local {
            Ok(local) => {
                self.unread.insert(conn);
                self.handle(Input::Connected {
                    conn,
                    local,
                    remote,
                });
            }
            Err(error) => {
                self.forget(conn);
                let reason = error.to_string();
                self.handle(Input::ConnectFailed { remote, reason });
            }
        }
    }

    /// One turn of reading for each connection that has something.
    pub(super) fn read_all(&mut self) {
        for conn in std::mem::take(&mut self.unread) {
            self.read(conn);
        }
    }

    /// Reads what a peer has sent, and that its connection ended, before something else is heard of it: BFD has a shorter
    /// way here, and what came first counts.
    pub(super) fn hear_out(&mut self, peer: IpAddr) {
        let its = self.connections.iter();
        let its = its.filter(|(_, c)| c.open && c.remote == peer);
        let its: Vec<ConnId> = its.map(|(conn, _)| *conn).collect();
        for conn in its {
            self.read(conn);
        }
    }

    pub(super) fn read(&mut self, conn: ConnId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self
            .connections
            .get_mut(&conn)
            .map(|c| c.receive(&mut buffer));
        match received {
            Some(Ok(Received::Some(count))) => {
                // Less than there was room for was all: what comes now is a new event. The end has been told already.
                let ends = self.connections.get(&conn).is_some_and(|c| c.ends);
                if count == buffer.len() || ends {
                    self.unread.insert(conn);
                }
                let bytes = Cow::Borrowed(&buffer[..count]);
                self.handle(Input::Received { conn, bytes });
            }
            Some(Ok(Received::End)) => self.closed(conn, "the peer closed it".to_owned()),
            Some(Err(error)) => self.closed(conn, error.to_string()),
            Some(Ok(Received::Nothing)) | None => {}
        }
        self.buffer = buffer;
    }

    pub(super) fn closed(&mut self, conn: ConnId, reason: String) {
        self.forget(conn);
        self.handle(Input::Closed { conn, reason });
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        self.unread.remove(&conn);
        if let Some(mut connection) = self.connections.remove(&conn) {
            // It goes from the poll with its descriptor at the latest.
            let _ = connection.stream().deregister(self.poll.registry());
        }
    }

    pub(super) fn flush(&mut self, conn: ConnId) {
        let written = self.connections.get_mut(&conn).map(Connection::flush);
        match written {
            None | Some(Ok(0)) => {}
            Some(Ok(count)) => self.handle(Input::Sent { conn, count }),
            Some(Err(error)) => self.closed(conn, error.to_string()),
        }
    }
}
