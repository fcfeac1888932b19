//! Which queries a request makes: how long it takes is decided by them, and is no test of its own.

use std::sync::{Arc, Mutex};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// The queries of this thread's requests.
#[derive(Clone, Default)]
struct Queries(Arc<Mutex<Vec<String>>>);

impl Visit for Queries {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "sql" {
            self.0.lock().expect("lock").push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Queries {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::TRACE && metadata.target() == "seaworthy_store::db"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The queries that are made while `done` is waited for.
pub(crate) async fn of(done: impl Future<Output = ()>) -> Vec<String> {
    let queries = Queries::default();
    let guard = tracing::subscriber::set_default(queries.clone());
    done.await;
    drop(guard);
    let made = queries.0.lock().expect("lock");
    made.clone()
}
