//! What many clients at a time may take: connections, memory for bodies, answers that nobody reads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Server;

const LONG: Duration = Duration::from_secs(20);

fn address(server: &Server) -> String {
    server.url("").trim_start_matches("http://").to_owned()
}

/// A connection that has asked for something.
fn asked(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(address(server)).unwrap();
    stream.write_all(b"GET /-/ready HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    stream
}

fn is_answered(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).is_ok_and(|()| &line == b"HTTP/1.1 200")
}

fn until(what: &str, mut test: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_connection_above_the_limit_waits_for_a_place() {
    let server = Server::with(&[("http.max_connections", "2")]);
    let (mut first, mut second) = (asked(&server), asked(&server));
    assert!(is_answered(&mut first, LONG) && is_answered(&mut second, LONG), "they stay open");
    let mut third = asked(&server);
    assert!(!is_answered(&mut third, Duration::from_millis(300)));
    drop(first);
    assert!(is_answered(&mut third, LONG));
    drop(second);
}

/// The request is refused by its head and answered at once; its client goes on and sends the body that it announced.
#[test]
fn the_rest_of_a_refused_body_is_swallowed_at_n_and_not_at_n_plus_1() {
    let server = Server::start();
    for (bytes, goes_on) in [(1_048_576, true), (1_048_577, false)] {
        let mut stream = TcpStream::connect(address(&server)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let head = format!("POST /-/ready HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"HTTP/1.1 405");
        let sent = stream.write_all(&vec![b' '; bytes]).and_then(|()| {
            stream.write_all(b"GET /-/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answers = String::new();
            stream.read_to_string(&mut answers)?;
            Ok(answers.contains("HTTP/1.1 200"))
        });
        assert_eq!(sent.unwrap_or(false), goes_on, "{bytes}");
    }
}

/// The rest is waited for a second long, and not longer.
#[test]
fn a_client_that_stops_in_a_refused_body_is_let_go() {
    let server = Server::start();
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address(&server)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"POST /-/ready HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n ").unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 405");
    let closed = stream.read_to_end(&mut Vec::new());
    assert!(closed.is_ok() && begun.elapsed() >= Duration::from_secs(1), "{closed:?} after {:?}", begun.elapsed());
}

#[test]
fn bodies_share_one_account() {
    let server = Server::with(&[("http.max_body_memory", "1000")]);
    let memory = server.app();
    let mut slow = TcpStream::connect(address(&server)).unwrap();
    let head = "POST /api/metrics/report HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    until("the body is counted", || memory.body_memory.taken() == 900);
    let query = |bytes: usize| {
        let form = format!("query=1&pad={}", "x".repeat(bytes - "query=1&pad=".len()));
        server.send("POST", "/api/v1/query", &[("content-type", "application/x-www-form-urlencoded")], form.as_bytes())
    };
    assert_eq!(query(100).status, 200);
    let refused = query(101);
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.body);
    assert_eq!(refused.json()["errorType"], "unavailable");
    let says = |text: &str| assert!(text.contains("limit http.max_body_memory = 1000 bytes reached"), "{text}");
    says(refused.json()["error"].as_str().unwrap());
    let json = [("content-type", "application/json")];
    let refused = server.send("POST", "/api/metrics/report", &json, &[b' '; 101]);
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.body);
    says(refused.json()["detail"].as_str().unwrap());
    for path in ["/api/v1/write", "/prometheus/api/v1/push"] {
        let refused = server.send("POST", path, &[], &[0; 101]);
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.body);
        says(refused.body.strip_suffix('\n').unwrap());
    }
    drop(slow);
    until("the body is gone", || memory.body_memory.taken() == 0);
    assert_eq!(query(1000).status, 200);
    let refused = query(1001);
    assert_eq!((refused.status, refused.header("retry-after")), (413, None), "{}", refused.body);
    says(refused.json()["error"].as_str().unwrap());
}

/// Its answer is far larger than what the system holds on the way, and its place is the only one.
#[test]
fn a_client_that_reads_nothing_is_left() {
    const LETTERS: usize = 1_500_000;
    let server = Server::with(&[("http.max_connections", "1"), ("http.body_timeout", "2s")]);
    // A letter of three bytes in the form and of six in the answer.
    let form = format!("query=\"{}\"", "%01".repeat(LETTERS));
    let head = format!(
        "POST /api/v1/query HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n",
        form.len()
    );
    let mut stalled = server.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address(&server).parse().unwrap()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(form.as_bytes()).await.unwrap();
        stream
    });
    assert!(is_answered(&mut asked(&server), LONG), "the place is free again");
    let mut beginning = Vec::new();
    // It ends by a reset or before the length that was announced.
    let _ = server.block_on(stalled.read_to_end(&mut beginning));
    assert!(beginning.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&beginning[..100]));
    assert!(beginning.len() < LETTERS * 6, "{} bytes came", beginning.len());
}
