//! Points at which a test holds a server still, to run others meanwhile. There are none in a product.

use crate::Registry;

/// Where a server can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    /// What an upload got is written, and its row does not say so.
    Received,
    /// A manifest's blobs may be named by its pusher, and its transaction has not begun.
    Checked,
    /// An upload was asked about that another request writes to.
    Busy,
    /// A blob's bytes are in place, and no row names them.
    Placed,
    /// A blob's row says that its bytes go, and they are there.
    Deleting,
    /// They are gone, and the row is there.
    Removed,
    /// It is decided which tags a repository keeps, and none is removed yet.
    Judged,
}

impl Registry {
    #[cfg(not(test))]
    #[allow(clippy::unused_async, reason = "a test waits here")]
    pub(crate) async fn pause(&self, _: Point) {}

    #[cfg(test)]
    pub(crate) async fn pause(&self, point: Point) {
        let held = self.inner.pauses.0.lock().expect("not poisoned").remove(&point);
        if let Some((arrived, go)) = held {
            arrived.send(()).ok();
            // A test that goes away lets go.
            go.await.ok();
        }
    }

    /// Holds whoever comes to `point` first: wait for the one, then send on or drop the other.
    #[cfg(test)]
    pub(crate) fn hold_at(
        &self,
        point: Point,
    ) -> (tokio::sync::oneshot::Receiver<()>, tokio::sync::oneshot::Sender<()>) {
        let (arrived, seen) = tokio::sync::oneshot::channel();
        let (release, go) = tokio::sync::oneshot::channel();
        self.inner.pauses.0.lock().expect("not poisoned").insert(point, (arrived, go));
        (seen, release)
    }
}

/// What tests hold: who comes there says so, and waits.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Pauses(std::sync::Mutex<std::collections::HashMap<Point, Pause>>);

#[cfg(test)]
type Pause = (tokio::sync::oneshot::Sender<()>, tokio::sync::oneshot::Receiver<()>);
