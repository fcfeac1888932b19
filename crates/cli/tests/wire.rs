//! A wire to a server that counts what goes over it, and that can be cut.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// A port in front of another.
pub(crate) struct Wire {
    pub(crate) port: u16,
    /// What clients send.
    pub(crate) up: Way,
    /// What they are sent.
    pub(crate) down: Way,
}

/// One direction.
#[derive(Clone)]
pub(crate) struct Way {
    count: Arc<AtomicU64>,
    cut_at: Arc<AtomicU64>,
}

impl Wire {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (up, down) = (Way::new(), Way::new());
        let ways = (up.clone(), down.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let there = TcpStream::connect(("127.0.0.1", server)).expect("the server");
                let (from, to) =
                    (client.try_clone().expect("a socket"), there.try_clone().expect("a socket"));
                let (up, down) = ways.clone();
                thread::spawn(move || carry(from, to, &up));
                thread::spawn(move || carry(there, client, &down));
            }
        });
        Self { port, up, down }
    }
}

impl Way {
    fn new() -> Self {
        Self { count: Arc::default(), cut_at: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Bytes so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Cuts the connection that carries the last of the next so many bytes; that one alone.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.cut_at.store(self.count() + bytes, Ordering::SeqCst);
    }

    pub(crate) fn was_cut(&self) -> bool {
        self.cut_at.load(Ordering::SeqCst) == u64::MAX
    }

    fn goes_on(&self, bytes: u64) -> bool {
        let count = self.count.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let at = self.cut_at.load(Ordering::SeqCst);
        count < at || self.cut_at.compare_exchange(at, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_err()
    }
}

/// Until one end is gone, or the way is cut; then both are.
fn carry(mut from: TcpStream, mut to: TcpStream, way: &Way) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !way.goes_on(read as u64) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        drop(end.shutdown(Shutdown::Both));
    }
}
