//! The method of Arroyo's controller that we speak, as its `rpc.proto` (package `arroyo_rpc`) has it. The messages are
//! written by hand, so that a build needs no `protoc`.

/// Where the method stands, the service of today first: it was in another one before.
pub(crate) const METHODS: [&str; 2] =
    ["/arroyo_rpc.JobControllerGrpc/JobMetrics", "/arroyo_rpc.ControllerGrpc/JobMetrics"];

/// Asks for the metrics of a job that runs.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JobMetricsReq {
    /// The controller's own id of the job.
    #[prost(string, tag = "1")]
    pub(crate) job_id: String,
}

/// The metrics of a job.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JobMetricsResp {
    /// A JSON list of [`super::wire::Operator`].
    #[prost(string, tag = "1")]
    pub(crate) metrics: String,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// Field 1, a text: what any other implementation of the protocol writes.
    #[test]
    fn the_messages_have_one_text_each() {
        let asked = JobMetricsReq { job_id: "job_1".to_owned() };
        assert_eq!(asked.encode_to_vec(), b"\x0A\x05job_1");
        let told = JobMetricsResp::decode(&b"\x0A\x02[]\x10\x07"[..]).unwrap();
        assert_eq!(told.metrics, "[]", "fields of later releases do not count");
        assert!(JobMetricsResp::decode(&b"\x0A\x09[]"[..]).is_err());
    }
}
