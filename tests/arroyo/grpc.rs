//! The gRPC path: a controller that is asked, and the controller's method that we have.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use ::http::uri::PathAndQuery;
use serde_json::{Value, json};
use streamgauge::jobs::{Observation, Origin, Subject};
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::controller::{BEFORE, Controller, JobMetricsReq, JobMetricsResp, Reply, TODAY};
use super::{
    ENGINE_JOB, JOB, TOKEN, ask, assert_error, closed, closed_with, data, path, points, record, run, with_job,
};
use crate::support::{Answer, Server};

/// What a controller tells of a job that runs.
fn told() -> String {
    let point = |time: i64, value: f64| json!({"time": time, "value": value});
    let sent = [point(1_796_000_000_000_000, 12.5), point(1_796_000_002_000_000, 13.5)];
    json!([{"node_id": 1, "metric_groups": [
        {"name": "messages_sent", "subtasks": [{"index": 0, "metrics": sent}]},
        {"name": "backpressure", "subtasks": [{"index": 0, "metrics": [point(1_796_000_002_000_000, 0.25)]}]},
    ]}])
    .to_string()
}

/// A server whose controller is at this address, with the job in its store.
fn server_of(url: &str, options: &[(&str, &str)]) -> Server {
    let server = Server::with(&[&[("arroyo.controller", url)], options].concat());
    with_job(&server);
    server
}

/// The answer of a server whose controller answers so.
fn answer_of(reply: Reply) -> Answer {
    let controller = Controller::that(reply);
    let server = server_of(&controller.url(), &[]);
    ask(&server, &path(&server))
}

#[test]
fn a_controller_is_asked_for_what_runs_and_the_store_for_the_past() {
    let controller = Controller::that(Reply::Metrics(told()));
    let server = server_of(&controller.url(), &[]);
    let path = path(&server);
    let found = data(&ask(&server, &path));
    let told: Value = serde_json::from_str(&told()).unwrap();
    assert_eq!(found[0]["metric_groups"], told[0]["metric_groups"]);
    assert_eq!((&found[0]["node_id"], &found[0]["operator_id"]), (&json!(1), &json!("node_1")));
    let page = json!([{"index": 0, "metrics": [
        {"name": "messages_sent", "value": 13.5}, {"name": "backpressure", "value": 0.25},
    ]}]);
    assert_eq!(found[0]["subtasks"], page);
    let asked = controller.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].path.as_str(), asked[0].job_id.as_deref()), (TODAY, Some(ENGINE_JOB)));
    assert_eq!(asked[0].encodings.0, "zstd", "what is sent");
    assert!(asked[0].encodings.1.split(',').any(|encoding| encoding.trim() == "zstd"), "what is taken");
    let now_ms = server.app().clock.now_ms();
    let past = data(&ask(&server, &format!("{path}?start={}&end={now_ms}", now_ms - 60_000)));
    assert_eq!(points(&past[0], "messages_sent", 0).len(), 10, "from the series");
    assert_eq!(controller.asked().len(), 1);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains(r#"streamgauge_arroyo_requests_total{outcome="success"} 1"#), "{metrics}");
}

#[test]
fn a_job_is_looked_up_before_its_controller_is_asked() {
    let controller = Controller::that(Reply::Metrics(told()));
    let server = server_of(&controller.url(), &[]);
    let unknown = path(&server).replace(JOB, "jc_nobody");
    assert_error(&ask(&server, &unknown), 404, "Job not found", "unknown");
    assert_eq!(server.send("GET", &path(&server), &[], b"").status, 401);
    assert!(controller.asked().is_empty());
}

/// `Job not running`: the controller says NOT_FOUND.
/// Whoever may write can push a job with the id that one of another organization has.
#[test]
fn a_controller_is_asked_about_jobs_of_its_organization() {
    for (org, asked) in [("one", 1), ("", 0), ("two", 0)] {
        let controller = Controller::that(Reply::Metrics(told()));
        let (server, _dir) = closed_with(&[("arroyo.controller", &controller.url()), ("arroyo.controller_org", org)]);
        let now_ms = server.app().clock.now_ms();
        let mut seen = Observation::new(Subject::job("one", JOB), Origin::Push, now_ms - 60_000);
        seen.put(&run("clicks", now_ms - 60_000, None)).unwrap();
        server.app().jobs.record(seen).unwrap();
        let path = format!("/v1/pipelines/clicks/jobs/{JOB}/operator_metric_groups");
        let ask = |token: &str| server.send("GET", &path, &[("authorization", &format!("Bearer {token}"))], b"");
        assert_eq!(data(&ask("of-one")).len(), asked, "{org}: from the series, of which there are none");
        assert_error(&ask("of-two"), 404, "Job not found", org);
        assert_eq!(controller.asked().len(), asked, "{org}");
    }
}

#[test]
fn what_a_controller_does_not_know_is_an_empty_list() {
    let answer = answer_of(Reply::Refused(Status::not_found("No metrics for job")));
    assert_eq!((answer.status, answer.json()), (200, json!({"data": []})));
}

/// `Controller unavailable`: 503.
#[test]
fn a_controller_that_is_not_there_is_a_503() {
    let refused = answer_of(Reply::Refused(Status::unavailable("starting")));
    assert_error(&refused, 503, "controller-service not available", "UNAVAILABLE");
    assert!(refused.body.contains("starting"));
    // A port that nobody listens on any more.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = server_of(&format!("http://{free}"), &[]);
    assert_error(&ask(&server, &path(&server)), 503, "controller-service not available", "nobody listens");
    let page = crate::exporter::Exporter::start(|_| crate::exporter::Reply::text("HTTP/1 only"));
    let server = server_of(&format!("http://{}", page.address), &[]);
    assert_error(&ask(&server, &path(&server)), 503, "controller-service not available", "no HTTP/2");
    let server = server_of(&format!("https://{free}"), &[]);
    assert_error(&ask(&server, &path(&server)), 503, "controller-service not available", "nobody listens, with TLS");
}

#[test]
fn a_controller_that_does_not_answer_is_waited_for_so_long() {
    let controller = Controller::that(Reply::Silence);
    let server = server_of(&controller.url(), &[("arroyo.controller_timeout", "300ms")]);
    let path = path(&server);
    let begun = Instant::now();
    let answer = ask(&server, &path);
    assert_error(&answer, 503, "arroyo.controller_timeout = 300ms", "silence");
    assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&begun.elapsed()));
}

#[test]
fn a_controller_that_comes_back_is_found() {
    let first = Controller::that(Reply::Metrics(told()));
    let address = first.address;
    let server = server_of(&first.url(), &[]);
    let path = path(&server);
    assert_eq!(ask(&server, &path).status, 200);
    drop(first);
    assert_eq!(ask(&server, &path).status, 503);
    let second = Controller::at(address, |_| Reply::Metrics(told()));
    assert_eq!(ask(&server, &path).status, 200);
    assert!(!second.asked().is_empty());
}

/// `gRPC error`: 500 for what is not expected.
#[test]
fn an_error_of_a_controller_is_a_500() {
    for code in [Code::Internal, Code::PermissionDenied, Code::Unknown, Code::DeadlineExceeded, Code::Unimplemented] {
        let answer = answer_of(Reply::Refused(Status::new(code, "why")));
        assert_error(&answer, 500, "Something went wrong", &format!("{code:?}"));
    }
}

#[test]
fn a_malformed_answer_is_a_500() {
    for (what, reply) in [
        ("no JSON", Reply::Metrics("{".to_owned())),
        ("another JSON", Reply::Metrics("{\"data\":[]}".to_owned())),
        ("an operator without an id", Reply::Metrics("[{\"metric_groups\":[]}]".to_owned())),
        ("a time that is none", Reply::Metrics(told().replace("1796000000000000", "-1"))),
        ("no zstd", Reply::Raw(b"\x01\x00\x00\x00\x04zstd", "zstd")),
        ("an encoding that was not asked for", Reply::Raw(b"\x01\x00\x00\x00\x01x", "gzip")),
        ("no protobuf", Reply::Raw(b"\x00\x00\x00\x00\x02\x0A\x7F", "identity")),
        ("text that is not UTF-8", Reply::Raw(b"\x00\x00\x00\x00\x03\x0A\x01\xFF", "identity")),
        ("a cut message", Reply::Raw(b"\x00\x00\x00\x00\x09\x0A", "identity")),
        ("no message", Reply::Raw(b"", "identity")),
        ("a web page", Reply::Page(200)),
        ("a web page that is not there", Reply::Page(404)),
    ] {
        assert_error(&answer_of(reply), 500, "Something went wrong", what);
    }
}

#[test]
fn the_answer_of_a_controller_is_bounded() {
    // Field, two bytes of length, and the list with spaces at its end.
    let with_length = |bytes: usize| format!("[]{}", " ".repeat(bytes - 5));
    let ask_for = |bytes: usize| {
        let controller = Controller::that(Reply::Metrics(with_length(bytes)));
        let server = server_of(&controller.url(), &[("arroyo.max_answer_bytes", "1000")]);
        ask(&server, &path(&server))
    };
    assert_eq!(ask_for(1000).json(), json!({"data": []}));
    assert_error(&ask_for(1001), 500, "limit arroyo.max_answer_bytes = 1000", "one more");
}

#[test]
fn the_service_of_older_releases_is_asked_as_well() {
    let controller = Controller::start(|path| match path {
        BEFORE => Reply::Metrics("[]".to_owned()),
        _ => Reply::Refused(Status::unimplemented("no such service")),
    });
    let server = server_of(&controller.url(), &[]);
    let path = path(&server);
    for _ in 0..2 {
        assert_eq!(ask(&server, &path).json(), json!({"data": []}));
    }
    let asked: Vec<String> = controller.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(asked, [TODAY, BEFORE, BEFORE], "what it has is remembered");
}

/// A client of our listener, as Arroyo's API is one of a controller.
fn connect(server: &Server) -> Channel {
    server.block_on(async { Endpoint::from_shared(server.arroyo_url()).unwrap().connect().await.unwrap() })
}

fn call(server: &Server, channel: &Channel, path: &'static str, job_id: &str) -> Result<Value, Status> {
    call_as(None, server, channel, path, job_id)
}

/// The same with a token.
fn call_as(
    token: Option<&str>,
    server: &Server,
    channel: &Channel,
    path: &'static str,
    job_id: &str,
) -> Result<Value, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone())
        .send_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Zstd);
    let mut asked = tonic::Request::new(JobMetricsReq { job_id: job_id.to_owned() });
    if let Some(token) = token {
        asked.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    server.block_on(async {
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<JobMetricsReq, JobMetricsResp>::default();
        let answer = grpc.unary(asked, PathAndQuery::from_static(path), codec).await?;
        assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "zstd", "the answer is compressed");
        Ok(serde_json::from_str(&answer.into_inner().metrics).unwrap())
    })
}

#[test]
fn our_own_method_tells_what_a_controller_would() {
    let server = Server::with(&[("arroyo_listen", "127.0.0.1:0")]);
    let newest_ms = with_job(&server);
    let channel = connect(&server);
    for path in [TODAY, BEFORE] {
        let told = call(&server, &channel, path, ENGINE_JOB).unwrap();
        let names: Vec<&str> =
            told[0]["metric_groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["bytes_recv", "bytes_sent", "messages_recv", "messages_sent", "backpressure"]);
        assert_eq!(told[0]["node_id"], 1);
        assert_eq!(points(&told[0], "backpressure", 0), [json!({"time": newest_ms * 1000, "value": 0.75})]);
    }
    assert!(call(&server, &channel, TODAY, JOB).is_ok(), "by its public id too");
    let refused = |path, job_id: &str| call(&server, &channel, path, job_id).unwrap_err();
    assert_eq!(refused(TODAY, "job_nobody").code(), Code::NotFound);
    assert_eq!(refused(TODAY, "").code(), Code::NotFound);
    assert_eq!(refused("/arroyo_rpc.ControllerGrpc/RegisterWorker", ENGINE_JOB).code(), Code::Unimplemented);
    let now_ms = server.app().clock.now_ms();
    record(&server, JOB, now_ms, &run("clicks", now_ms - 60_000, Some(now_ms)));
    assert_eq!(refused(TODAY, ENGINE_JOB).code(), Code::NotFound, "it does not run");
    let without_series = super::Run { engine_id: Some("job_2".to_owned()), ..run("quiet", now_ms, None) };
    record(&server, "jc_2", now_ms, &without_series);
    assert_eq!(refused(TODAY, "job_2").code(), Code::NotFound, "nothing is known of it");
}

/// With tokens, a caller from elsewhere needs one for our method too.
#[test]
fn our_own_method_needs_the_right_to_read() {
    let (server, _dir) = closed();
    with_job(&server);
    let message = [&[0, 0, 0, 0, 10, 0x0A, 8][..], ENGINE_JOB.as_bytes()].concat();
    assert_eq!(ENGINE_JOB.len(), 8);
    let ask = |header: (&str, &str)| {
        let headers = [("content-type", "application/grpc"), ("te", "trailers"), header];
        let answer = server.send_arroyo_body("POST", TODAY, &headers, &message);
        answer.header("grpc-status").map(str::to_owned)
    };
    assert_eq!(ask(("x-forwarded-for", "203.0.113.9")).as_deref(), Some("16"), "UNAUTHENTICATED");
    assert_eq!(ask(("authorization", "Bearer whatever")).as_deref(), Some("16"), "UNAUTHENTICATED");
    assert_eq!(ask(("authorization", "Bearer writer")).as_deref(), Some("7"), "PERMISSION_DENIED");
    assert_eq!(ask(("authorization", "Bearer of-two")).as_deref(), Some("5"), "NOT_FOUND");
    let channel = connect(&server);
    let told = call_as(Some("reader"), &server, &channel, TODAY, ENGINE_JOB).unwrap();
    assert_eq!(told[0]["node_id"], 1);
    assert_eq!(call(&server, &channel, TODAY, ENGINE_JOB).unwrap(), told, "this machine needs no token");
}

#[test]
fn one_streamgauge_is_the_controller_of_another() {
    let teller = Server::with(&[("arroyo_listen", "127.0.0.1:0")]);
    with_job(&teller);
    let asker = Server::with(&[("arroyo.controller", &teller.arroyo_url())]);
    let now_ms = asker.app().clock.now_ms();
    record(&asker, JOB, now_ms - 60_000, &run("clicks", now_ms - 60_000, None));
    let found = data(&ask(&asker, &path(&asker)));
    assert_eq!(found[0]["operator_id"], "node_1");
    assert_eq!(points(&found[0], "messages_sent", 0).len(), 10);
    assert_eq!(found[0]["subtasks"][1]["metrics"][0], json!({"name": "messages_sent", "value": 1000.0}), "the count");
}

#[test]
fn requests_of_our_method_are_bounded() {
    // A job's id of so many bytes takes two more in the message, three above 127, and five before it.
    let server = Server::with(&[("arroyo_listen", "127.0.0.1:0"), ("arroyo.max_request_bytes", "100")]);
    let send = |message_bytes: usize| {
        let mut body = vec![0, 0, 0, 0, message_bytes as u8, 0x0A, message_bytes as u8 - 2];
        body.resize(message_bytes + 5, b'x');
        server.send_arroyo_body("POST", TODAY, &[("content-type", "application/grpc"), ("te", "trailers")], &body)
    };
    assert_eq!(send(95).header("grpc-status"), Some("5"), "100 bytes: no such job");
    let refused = send(96);
    assert_eq!(refused.header("grpc-status"), Some("11"), "OUT_OF_RANGE");
    assert!(refused.header("grpc-message").unwrap().contains("arroyo.max_request_bytes"), "{:?}", refused.headers);
    // Few bytes that become many.
    let channel = connect(&server);
    assert_eq!(call(&server, &channel, TODAY, &"x".repeat(98)).unwrap_err().code(), Code::NotFound);
    let refused = call(&server, &channel, TODAY, &"x".repeat(99)).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("limit arroyo.max_request_bytes = 100 bytes"), "{}", refused.message());
    let malformed = server.send_arroyo_body("POST", TODAY, &[("content-type", "application/grpc")], b"\x07nonsense");
    assert_eq!(malformed.header("grpc-status"), Some("13"), "INTERNAL: {:?}", malformed.headers);
}

#[test]
fn requests_over_one_connection_are_bounded() {
    let server = Server::with(&[("arroyo_listen", "127.0.0.1:0"), ("http.max_streams", "3")]);
    let address = server.arroyo_url().trim_start_matches("http://").to_owned();
    let streams = server.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, axum::body::Body>(hyper_util::rt::TokioExecutor::new(), io)
                .await
                .unwrap();
        let mut connection = std::pin::pin!(connection);
        let request =
            ::http::Request::get(format!("http://{address}/nothing")).body(axum::body::Body::empty()).unwrap();
        let answer = tokio::select! {
            ended = &mut connection => panic!("{ended:?}"),
            answer = sender.send_request(request) => answer.unwrap(),
        };
        assert_eq!(answer.status(), 404, "plain HTTP/2 as well");
        connection.current_max_send_streams()
    });
    assert_eq!(streams, 3);
}

/// Who opens the listener and says nothing is left, whichever protocol it would have been.
#[test]
fn a_silent_connection_is_left() {
    use std::io::{Read, Write};
    let server = Server::with(&[("arroyo_listen", "127.0.0.1:0"), ("http.header_timeout", "200ms")]);
    let address = server.arroyo_url().trim_start_matches("http://").to_owned();
    for sent in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost:"] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(sent).unwrap();
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).is_ok(), "closed by the server, after {sent:?}");
    }
    assert_eq!(server.send_arroyo("GET", "/v1/pipelines", &[TOKEN]).status, 404, "others are served");
}
