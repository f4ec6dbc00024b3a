//! Finds out who makes a request, and lets routes only be used with the right that they need.
//!
//! Every route is wrapped in [`read`], [`write()`], [`admin`] or one of their kind, or is `open` in `docs/api.md`: the tests go
//! through all routes of that page. A dialect that is one route for a whole tree looks at the [`Caller`] itself.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ::http::Method;
use ::http::request::Parts;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::MethodRouter;

use super::Peer;
use super::error::{Dialect, Fault};
use crate::app::App;
use crate::auth::{Caller, Denied, Need, Right, Rights};

/// Puts the caller into the request.
pub(super) async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let caller = app.auth.caller(peer, request.headers());
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// For handlers; one that nobody found out about may do nothing.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Infallible> {
        let nobody = Caller::Anonymous { rights: Rights::NONE, is_foreign: false };
        Ok(parts.extensions.get().cloned().unwrap_or(nobody))
    }
}

/// Routes that show what the caller may see.
pub(super) fn read<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    needs(Need::of(Right::Read), methods)
}

/// Routes that show what concerns the whole server.
pub(super) fn read_whole<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    needs(Need::whole(Right::Read), methods)
}

/// Routes that take in what belongs to the caller.
pub(super) fn write<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    needs(Need::of(Right::Write), methods)
}

/// Routes that take in what concerns the whole server.
pub(super) fn write_whole<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    needs(Need::whole(Right::Write), methods)
}

/// Routes that tell jobs of the caller what to do.
pub(super) fn control<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    needs(Need::of(Right::Control), methods)
}

/// Routes that change what belongs to the caller.
pub(super) fn admin<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    needs(Need::of(Right::Admin), methods)
}

/// Routes that change the whole server.
pub(super) fn admin_whole<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    needs(Need::whole(Right::Admin), methods)
}

/// The check comes before anything of parameters and body is read. Other methods are still refused as such.
fn needs<S: Clone + Send + Sync + 'static>(need: Need, methods: MethodRouter<S>) -> MethodRouter<S> {
    methods.route_layer(axum::middleware::from_fn_with_state(need, check))
}

async fn check(State(need): State<Need>, caller: Caller, request: Request, next: Next) -> Response {
    match allow(&caller, need, request.method(), request.uri().path()) {
        Ok(()) => next.run(request).await,
        Err(denied) => Fault::from(denied).response(Dialect::of_path(request.uri().path())),
    }
}

/// Checks a request, and writes to the log who controls or administers.
///
/// # Errors
/// [`Denied`].
pub(super) fn allow(caller: &Caller, need: Need, method: &Method, path: &str) -> Result<(), Denied> {
    let checked = caller.check(need);
    if matches!(need.right, Right::Control | Right::Admin) {
        match &checked {
            Ok(()) => tracing::info!(caller = caller.name(), %method, path, "{}", need.right.as_str()),
            Err(denied) => tracing::warn!(caller = caller.name(), %method, path, %denied, "{}", need.right.as_str()),
        }
    }
    checked
}
