//! A server that is killed at random moments while others talk to it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::server::{Place, Server};

/// xorshift64: the same run for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = self.0.to_be_bytes().to_vec();
        while (bytes.len() as u64) < length {
            bytes.extend(self.below(u64::MAX).to_be_bytes());
        }
        bytes
    }
}

/// Kills a server so many times, each at most `most` after it was ready, and starts it again. Meanwhile each of
/// `talkers` runs, and is told when it is over, also when something failed. The last server goes on.
pub(crate) fn kill_while<T: FnOnce(&AtomicBool) + Send>(
    place: &Place,
    server: Server,
    (kills, most, seed): (u32, Duration, u64),
    talkers: impl IntoIterator<Item = T>,
) -> Server {
    let (port, over) = (server.port, AtomicBool::new(false));
    let mut server = Some(server);
    std::thread::scope(|scope| {
        for talker in talkers {
            let over = &over;
            scope.spawn(move || talker(over));
        }
        let _stop = StopAtEnd(&over);
        let mut random = Random(seed);
        for kill in 0..kills {
            // A random moment is one of the clock's.
            std::thread::sleep(Duration::from_millis(
                random.below(u64::try_from(most.as_millis()).expect("short")),
            ));
            server.take();
            let again = place.try_up(port, &[], "en");
            server = Some(again.unwrap_or_else(|log| panic!("after kill {kill} of seed {seed:#x}: {log}")));
        }
    });
    server.expect("it was started again")
}

/// Ends the talkers, also when the killer fails.
struct StopAtEnd<'s>(&'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
