//! The one list of routes: the router is built from it, and docs/reference/openapi.json is
//! compared with it, so that neither has a route that the other does not.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, on},
};
use http::Method;

/// Routes, and the list of them.
pub(crate) struct Routes<S = ()> {
    router: Router<S>,
    listed: Vec<(Method, &'static str)>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), listed: Vec::new() }
    }

    pub(crate) fn get<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add((Method::GET, MethodFilter::GET), path, handler)
    }

    pub(crate) fn post<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add((Method::POST, MethodFilter::POST), path, handler)
    }

    pub(crate) fn patch<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add((Method::PATCH, MethodFilter::PATCH), path, handler)
    }

    pub(crate) fn delete<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add((Method::DELETE, MethodFilter::DELETE), path, handler)
    }

    fn add<H: Handler<T, S>, T: 'static>(
        mut self,
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        handler: H,
    ) -> Self {
        self.listed.push((method, path));
        Self { router: self.router.route(path, on(filter, handler)), listed: self.listed }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.listed.extend(other.listed);
        Self { router: self.router.merge(other.router), listed: self.listed }
    }

    pub(crate) fn with_state(self, state: S) -> Routes {
        Routes { router: self.router.with_state(state), listed: self.listed }
    }

    /// Every method and path, as the router matches them.
    #[cfg(test)]
    pub(crate) fn listed(&self) -> &[(Method, &'static str)] {
        &self.listed
    }
}

impl Routes {
    pub(crate) fn into_router(self) -> Router {
        self.router
    }
}
