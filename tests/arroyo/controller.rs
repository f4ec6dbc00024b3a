//! A controller for tests: gRPC over HTTP/2 on a port of its own, which does what a closure says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic_prost::ProstCodec;

/// As Arroyo's `rpc.proto` has it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct JobMetricsReq {
    #[prost(string, tag = "1")]
    pub(super) job_id: String,
}

/// As Arroyo's `rpc.proto` has it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct JobMetricsResp {
    #[prost(string, tag = "1")]
    pub(super) metrics: String,
}

/// The service of today, and the one before.
pub(super) const TODAY: &str = "/arroyo_rpc.JobControllerGrpc/JobMetrics";
pub(super) const BEFORE: &str = "/arroyo_rpc.ControllerGrpc/JobMetrics";

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    /// `grpc-encoding` and `grpc-accept-encoding`.
    pub(super) encodings: (String, String),
    pub(super) job_id: Option<String>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// The metrics of the job, compressed.
    Metrics(String),
    /// A status.
    Refused(Status),
    /// Bytes that claim to be an answer, in an encoding.
    Raw(&'static [u8], &'static str),
    /// An answer that is not gRPC.
    Page(u16),
    /// Nothing, ever.
    Silence,
}

/// The controller; it stops when dropped.
pub(super) struct Controller {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Controller {
    /// Answers by path.
    pub(super) fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Controller {
        Controller::at(([127, 0, 0, 1], 0).into(), reply)
    }

    /// The same at a given address.
    pub(super) fn at(address: SocketAddr, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Controller {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let controller =
            Controller { address: listener.local_addr().unwrap(), asked: Arc::default(), _runtime: runtime };
        let (asked, reply) = (Arc::clone(&controller.asked), Arc::new(reply));
        controller._runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, reply) = (Arc::clone(&asked), Arc::clone(&reply));
                let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let (asked, reply) = (Arc::clone(&asked), Arc::clone(&reply));
                    async move {
                        let reply = reply(request.uri().path());
                        Ok::<_, Infallible>(answer(request, reply, &asked).await)
                    }
                });
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        controller
    }

    /// Answers the same whatever is asked, but knows only the service of today.
    pub(super) fn that(reply: Reply) -> Controller {
        Controller::start(move |path| match path {
            TODAY => reply.clone(),
            _ => Reply::Refused(Status::unimplemented("no such method")),
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
    reply: Reply,
    asked: &Arc<Mutex<Vec<Asked>>>,
) -> ::http::Response<Body> {
    let header = |name: &str| request.headers().get(name).map_or_else(String::new, |v| v.to_str().unwrap().to_owned());
    let one = Asked {
        path: request.uri().path().to_owned(),
        encodings: (header("grpc-encoding"), header("grpc-accept-encoding")),
        job_id: None,
    };
    match reply {
        Reply::Raw(bytes, encoding) => {
            asked.lock().unwrap().push(one);
            let head = ::http::Response::builder().header("content-type", "application/grpc");
            head.header("grpc-encoding", encoding).body(Body::from(bytes)).unwrap()
        }
        Reply::Page(status) => {
            asked.lock().unwrap().push(one);
            let head = ::http::Response::builder().status(status).header("content-type", "text/html");
            head.body(Body::from("<html>")).unwrap()
        }
        Reply::Silence => {
            asked.lock().unwrap().push(one);
            std::future::pending().await
        }
        Reply::Metrics(_) | Reply::Refused(_) => {
            let asked = Arc::clone(asked);
            let service = tower::service_fn(move |request: tonic::Request<JobMetricsReq>| {
                let job_id = Some(request.into_inner().job_id);
                asked.lock().unwrap().push(Asked { job_id, ..one.clone() });
                let told = match reply.clone() {
                    Reply::Metrics(metrics) => Ok(tonic::Response::new(JobMetricsResp { metrics })),
                    Reply::Refused(status) => Err(status),
                    _ => unreachable!("matched above"),
                };
                std::future::ready(told)
            });
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<JobMetricsResp, JobMetricsReq>::default())
                .accept_compressed(CompressionEncoding::Zstd)
                .send_compressed(CompressionEncoding::Zstd);
            grpc.unary(service, request).await.map(Body::new)
        }
    }
}
