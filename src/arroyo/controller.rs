//! A controller of Arroyo's, asked over gRPC: zstd both ways, one connection that is made when it is needed and again after
//! it was lost.

use std::error::Error as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::Uri;
use ::http::uri::PathAndQuery;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::rpc::{JobMetricsReq, JobMetricsResp, METHODS};
use crate::config::Config;

/// What Arroyo calls it where it does not answer.
pub(crate) const SERVICE: &str = "controller-service";

/// Why a controller's metrics are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    /// It cannot be reached, or says that it cannot serve now.
    #[error("{SERVICE} not available: {0}")]
    Unavailable(String),
    /// It answered with an error, or with what cannot be read.
    #[error("{0}")]
    Refused(String),
}

/// The controller that `arroyo.controller` names.
pub(crate) struct Controller {
    endpoint: Endpoint,
    org: String,
    /// Made with the first request: that needs the runtime.
    channel: OnceLock<Channel>,
    /// Place in [`METHODS`] of the method that it has, as far as known.
    method: AtomicUsize,
    timeout: Duration,
    answer_bytes_max: usize,
}

impl Controller {
    /// The controller of a configuration, if it names one. Nothing is asked yet.
    ///
    /// # Errors
    /// For people: what is wrong with its address.
    pub(crate) fn of(config: &Config) -> Result<Option<Controller>, String> {
        let Some(url) = &config.arroyo_controller.0 else { return Ok(None) };
        let wrong = |error: tonic::transport::Error| {
            format!(
                "arroyo.controller: {url}: {}",
                error.source().map_or_else(|| error.to_string(), ToString::to_string)
            )
        };
        let mut endpoint = Endpoint::from(url.clone()).connect_timeout(config.arroyo_controller_timeout.std());
        if url.scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(wrong)?;
        }
        Ok(Some(Controller {
            endpoint,
            org: config.arroyo_controller_org.clone(),
            channel: OnceLock::new(),
            method: AtomicUsize::new(0),
            timeout: config.arroyo_controller_timeout.std(),
            answer_bytes_max: config.arroyo_max_answer_bytes.usize(),
        }))
    }

    /// Its address.
    pub(crate) fn url(&self) -> &Uri {
        self.endpoint.uri()
    }

    /// The organization that its jobs belong to. It knows jobs by their ids alone, and whoever tells of a job chooses its id:
    /// about jobs of another organization it must not be asked.
    pub(crate) fn org(&self) -> &str {
        &self.org
    }

    /// The metrics of a job as the controller writes them; none if the job does not run.
    ///
    /// # Errors
    /// [`ControllerError`].
    pub(crate) async fn job_metrics(&self, job_id: &str) -> Result<Option<String>, ControllerError> {
        let told = tokio::time::timeout(self.timeout, self.ask(job_id)).await;
        let told = told.map_err(|_| {
            let limit = self.timeout;
            ControllerError::Unavailable(format!("no answer within arroyo.controller_timeout = {limit:?}"))
        })?;
        match told {
            Ok(metrics) => Ok(Some(metrics)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.error(&status)),
        }
    }

    /// Asks the service that had the method last, and the other one if that has it no more.
    async fn ask(&self, job_id: &str) -> Result<String, Status> {
        let first = self.method.load(Ordering::Relaxed);
        let mut refused = Status::unimplemented("no method");
        for place in (0..METHODS.len()).map(|i| (first + i) % METHODS.len()) {
            match self.call(METHODS[place], job_id).await {
                Err(status) if status.code() == Code::Unimplemented => refused = status,
                told => {
                    self.method.store(place, Ordering::Relaxed);
                    return told;
                }
            }
        }
        Err(refused)
    }

    async fn call(&self, method: &'static str, job_id: &str) -> Result<String, Status> {
        let channel = self.channel.get_or_init(|| self.endpoint.connect_lazy()).clone();
        let mut grpc = tonic::client::Grpc::new(channel)
            .send_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(self.answer_bytes_max);
        grpc.ready().await.map_err(|e| Status::from_error(Box::new(e)))?;
        let codec = ProstCodec::<JobMetricsReq, JobMetricsResp>::default();
        let asked = Request::new(JobMetricsReq { job_id: job_id.to_owned() });
        let told = grpc.unary(asked, PathAndQuery::from_static(method), codec).await?;
        Ok(told.into_inner().metrics)
    }

    fn error(&self, status: &Status) -> ControllerError {
        let told = format!("{:?}: {}", status.code(), status.message());
        // What the transport found has a source; what the controller said has none.
        if let Some(source) = status.source() {
            return ControllerError::Unavailable(format!("{told}{}", deepest(source)));
        }
        match status.code() {
            Code::Unavailable => ControllerError::Unavailable(told),
            Code::OutOfRange | Code::ResourceExhausted => {
                let limit = self.answer_bytes_max;
                ControllerError::Refused(format!("{told} (limit arroyo.max_answer_bytes = {limit})"))
            }
            _ => ControllerError::Refused(told),
        }
    }
}

/// The first cause, where it says more than the error.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!(": {cause}")
}
