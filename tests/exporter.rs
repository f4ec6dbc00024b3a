//! A small HTTP server that tests scrape: it answers what a closure says, plain or over TLS, one thread per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) delay: Duration,
}

impl Reply {
    pub(crate) fn text(body: &str) -> Reply {
        let headers = vec![("content-type", "text/plain; version=0.0.4".to_owned())];
        Reply { status: 200, headers, body: body.into(), delay: Duration::ZERO }
    }

    pub(crate) fn json(body: &str) -> Reply {
        Reply { headers: vec![("content-type", "application/json".to_owned())], ..Reply::text(body) }
    }

    pub(crate) fn status(status: u16) -> Reply {
        Reply { status, ..Reply::text("") }
    }

    pub(crate) fn redirect(to: &str) -> Reply {
        let mut reply = Reply::status(302);
        reply.headers.push(("location", to.to_owned()));
        reply
    }
}

type Answers = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server; it stops when dropped.
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
    stopping: Arc<AtomicBool>,
}

impl Exporter {
    pub(crate) fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Exporter {
        Exporter::listen(None, answers)
    }

    /// Over TLS, with certificate and key from files.
    pub(crate) fn tls(
        certificate: &str,
        key: &str,
        answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Exporter {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Exporter::listen(Some(Arc::new(config)), answers)
    }

    fn listen(
        tls: Option<Arc<rustls::ServerConfig>>,
        answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exporter = Exporter {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            connections: Arc::default(),
            stopping: Arc::default(),
        };
        let (asked, connections) = (Arc::clone(&exporter.asked), Arc::clone(&exporter.connections));
        let stopping = Arc::clone(&exporter.stopping);
        let answers: Arc<Answers> = Arc::new(answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                *connections.lock().unwrap() += 1;
                let (asked, answers, tls) = (Arc::clone(&asked), Arc::clone(&answers), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &asked, &*answers),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        serve(rustls::StreamOwned::new(connection, stream), &asked, &*answers);
                    }
                });
            }
        });
        exporter
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees the flag.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers requests until the client goes.
fn serve(stream: impl Read + Write, asked: &Mutex<Vec<Asked>>, answers: &Answers) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream) {
        asked.lock().unwrap().push(request.clone());
        let reply = answers(&request);
        std::thread::sleep(reply.delay);
        let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bytes = [head.as_bytes(), b"\r\n", &reply.body].concat();
        if stream.get_mut().write_all(&bytes).and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}

fn read_request(stream: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut parts = line.split(' ').map(str::to_owned);
    let (method, path) = (parts.next()?, parts.next()?);
    let mut asked = Asked { method, path, headers: Vec::new(), body: Vec::new() };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            None => break,
            Some((name, value)) => asked.headers.push((name.to_lowercase(), value.to_owned())),
        }
    }
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.take(length).read_to_end(&mut asked.body).ok()?;
    Some(asked)
}
