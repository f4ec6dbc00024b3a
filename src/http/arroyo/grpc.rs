//! The method of Arroyo's controller, from the store: whoever asks a controller for a job's metrics may ask us.
//!
//! It needs the right to read. Arroyo's API asks its controller without a token; one that is sent counts.

use std::sync::Arc;

use ::http::{StatusCode, header};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http_body_util::Full;
use model::Scope;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::find::by_engine_id;
use super::parameters::Asked;
use super::{look, on_worker, written};
use crate::app::App;
use crate::arroyo::rpc::{JobMetricsReq, JobMetricsResp};
use crate::arroyo::tasks::Metric;
use crate::auth::{Caller, Need, Right};
use crate::http::body::{self, BodyLimits};
use crate::http::error::{Dialect, Fault};
use crate::jobs::Reader;

/// `JobMetrics`
pub(super) async fn job_metrics(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    if let Err(denied) = caller.check(Need::of(Right::Read)) {
        return answered(status(&denied.into()));
    }
    let (head, body) = request.into_parts();
    let limit = ("arroyo.max_request_bytes", app.config.arroyo_max_request_bytes.usize());
    let body = match body::read(&head.headers, body, &BodyLimits::new(&app, limit)).await {
        Ok(body) => body,
        Err(fault) => return answered(status(&fault)),
    };
    let service = tower::service_fn(move |asked: tonic::Request<JobMetricsReq>| {
        let (app, scope) = (Arc::clone(&app), caller.scope());
        async move { metrics(&app, scope, asked.into_inner().job_id).await.map(tonic::Response::new) }
    });
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<JobMetricsResp, JobMetricsReq>::default())
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(limit.1);
    let response = grpc.unary(service, ::http::Request::from_parts(head, Full::new(body))).await;
    match Status::from_header_map(response.headers()) {
        // The library does not know the name of the limit.
        Some(told) if matches!(told.code(), Code::OutOfRange | Code::ResourceExhausted) => {
            answered(Status::new(told.code(), format!("{}: limit {} = {} bytes", told.message(), limit.0, limit.1)))
        }
        _ => response.map(Body::new),
    }
}

/// A path that is not there, for clients of either kind.
pub(super) async fn elsewhere(request: Request) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/grpc") {
        return answered(Status::unimplemented(format!("no such method: {}", request.uri().path())));
    }
    // Every path is ours here, also those that are another dialect's at the root.
    Fault::new(StatusCode::NOT_FOUND, format!("no such path: {}", request.uri().path())).response(Dialect::Plain)
}

async fn metrics(app: &Arc<App>, scope: Scope, job_id: String) -> Result<JobMetricsResp, Status> {
    let asked = Asked::now(app.clock.now_ms());
    let told = on_worker(app, move |app, budget| {
        let find = |reader: &Reader<'_>, scope: &Scope| by_engine_id(reader, scope, &job_id, asked.at_ms());
        let found = look(app, &scope, &asked, budget, find)?;
        // A controller has metrics only of what runs.
        let tasks = found.filter(|tasks| !tasks.is_empty());
        tasks.map(|tasks| written(&tasks.operators(&Metric::OF_CONTROLLER))).transpose()
    });
    let metrics = told.await.map_err(|fault| status(&fault))?;
    metrics.map(|metrics| JobMetricsResp { metrics }).ok_or_else(|| Status::not_found("No metrics for job"))
}

fn answered(status: Status) -> Response {
    status.into_http::<Body>()
}

/// A fault in gRPC's words.
fn status(fault: &Fault) -> Status {
    let code = match fault.status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::PAYLOAD_TOO_LARGE => Code::OutOfRange,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        // What a caller asks for is one job: that it is too large to show is no fault of the request.
        _ => Code::Internal,
    };
    Status::new(code, fault.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_in_grpcs_words() {
        for (http, code) in [
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (429, Code::Unavailable),
            (503, Code::Unavailable),
            (413, Code::OutOfRange),
            (422, Code::Internal),
            (408, Code::DeadlineExceeded),
            (400, Code::Internal),
            (500, Code::Internal),
        ] {
            let fault = Fault::new(StatusCode::from_u16(http).unwrap(), "why");
            assert_eq!((status(&fault).code(), status(&fault).message()), (code, "why"), "{http}");
        }
    }
}
