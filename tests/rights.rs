//! Rights over all routes and dialects: what is refused to whom, with which status, in whose shape; and that a token of an
//! organization sees nothing of another.

mod clusters;
mod dialects;
mod organizations;

use streamgauge::auth::{Right, Rights, Token, with_entry};

use crate::bad_input::Shape;
use crate::offline::run;
use crate::support::{Answer, Server};

/// What makes a request come from elsewhere.
const ELSEWHERE: (&str, &str) = ("x-forwarded-for", "203.0.113.9");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A server with tokens, whose secrets are their names.
struct Guarded {
    server: Server,
    _dir: tempfile::TempDir,
}

/// Name, rights, organization.
type Given<'a> = (&'a str, &'a [Right], Option<&'a str>);

impl Guarded {
    fn with(tokens: &[Given<'_>], options: &[(&str, &str)]) -> Guarded {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let text = tokens.iter().fold(String::new(), |text, (name, rights, org)| {
            let token = Token { name: (*name).into(), rights: Rights::of(rights), org: org.map(Into::into) };
            with_entry(&text, &token, name).unwrap()
        });
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        let options = [&[("auth_token_file", path.as_str())], options].concat();
        Guarded { server: Server::with(&options), _dir: dir }
    }

    /// A request from elsewhere, with a token unless it is empty.
    fn ask(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut all = vec![ELSEWHERE];
        all.extend_from_slice(headers);
        all.extend((!token.is_empty()).then_some(("authorization", bearer.as_str())));
        self.server.send(method, path, &all, body)
    }

    fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, "GET", path, &[], b"")
    }
}

/// One token for each right, one for each without it, and one of an organization that has all.
const TOKENS: [Given<'_>; 9] = [
    ("read", &[Right::Read], None),
    ("write", &[Right::Write], None),
    ("control", &[Right::Control], None),
    ("admin", &[Right::Admin], None),
    ("not-read", &[Right::Write, Right::Control], None),
    ("not-write", &[Right::Read, Right::Control], None),
    ("not-control", &[Right::Read, Right::Write], None),
    ("not-admin", &[Right::Read, Right::Write, Right::Control], None),
    ("of-one", &[Right::Admin], Some("one")),
];

/// A route of `docs/api.md`.
struct Documented {
    section: String,
    method: String,
    path: String,
    rights: String,
}

/// The routes of the page but for those of dialects that are one route for a whole tree of paths.
fn documented() -> Vec<Documented> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let (mut all, mut section) = (Vec::new(), String::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        }
        let mut cells = line.split('|').map(str::trim);
        let (Some(""), Some(route), Some(rights)) = (cells.next(), cells.next(), cells.next()) else { continue };
        let Some((methods, path)) = route.trim_matches('`').rsplit_once(' ') else { continue };
        if path.starts_with('/') && !["Flink", "TSP"].contains(&section.as_str()) {
            all.extend(methods.split(", ").map(|method| Documented {
                section: section.clone(),
                method: method.to_owned(),
                path: path.to_owned(),
                rights: rights.to_owned(),
            }));
        }
    }
    assert!(all.len() > 60, "{}", all.len());
    all
}

/// Who owns the shape of a route's errors.
fn owner(route: &Documented) -> Shape {
    match route.section.as_str() {
        "Writing" => Shape::Text,
        "NoETL" => Shape::NoEtl,
        "Arroyo" => Shape::Plain,
        _ if ["/federate", "/metrics", "/-/reload"].contains(&route.path.as_str()) => Shape::Text,
        _ if route.path.starts_with("/api/v1/") => Shape::Prometheus,
        _ => Shape::Plain,
    }
}

#[test]
fn every_route_wants_the_right_that_its_page_says() {
    let guarded = Guarded::with(&TOKENS, &[]);
    let mut wrong = Vec::new();
    for route in documented() {
        let path = route.path.replace("{name}", "x").replace("{id}", "7").replace("{*rest}", "x");
        let path = path.replace("{command}", "x").replace("{pipeline_id}", "pl_1").replace("{job_id}", "jc_1");
        let ask = |token: &str| guarded.ask(token, &route.method, &path, &[FORM], b"");
        let mut expect = |token: &str, status: Option<u16>, message: &str| {
            let answer = ask(token);
            let fits = match status {
                Some(status) => answer.status == status && owner(&route).message_of(&answer).contains(message),
                None => ![401, 403].contains(&answer.status),
            };
            if !fits {
                let body: String = answer.body.chars().take(200).collect();
                wrong.push(format!(
                    "{} {path} with {token:?}: want {status:?}, got {} {body}",
                    route.method, answer.status
                ));
            }
        };
        let (right, is_whole) = match route.rights.strip_suffix(" whole") {
            Some(right) => (right, true),
            None => (route.rights.as_str(), false),
        };
        if right == "open" {
            expect("", None, "");
            continue;
        }
        expect("", Some(401), &format!("the right to {right} needs a token"));
        expect("wrong", Some(401), "the token is not known");
        expect(&format!("not-{right}"), Some(403), &format!("has not the right to {right}"));
        expect(right, None, "");
        expect("of-one", is_whole.then_some(403), "concerns the whole server");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const JOB: &str = "/jobs/00000000000000000000000000000001";

#[test]
fn a_dialect_of_one_route_wants_rights_by_what_a_path_means() {
    let guarded = Guarded::with(&TOKENS, &[]);
    let job = |rest: &str| format!("{JOB}{rest}");
    for (shape, method, path, right) in [
        (Shape::Flink, "GET", "/jobs".to_owned(), "read"),
        (Shape::Flink, "GET", "/v1/config".to_owned(), "read"),
        (Shape::Flink, "GET", "//jobs/overview".to_owned(), "read"),
        (Shape::Flink, "GET", "/flink/overview/".to_owned(), "read"),
        (Shape::Flink, "GET", "/flink/v1//taskmanagers".to_owned(), "read"),
        (Shape::Flink, "GET", "/jobs/no-id".to_owned(), "read"),
        (Shape::Flink, "GET", job("/vertices/x/subtasks/metrics"), "read"),
        (Shape::Flink, "GET", job("/savepoints/7"), "read"),
        (Shape::Flink, "GET", "/jars".to_owned(), "read"),
        (Shape::Flink, "PATCH", job("?mode=cancel"), "control"),
        (Shape::Flink, "POST", job("/savepoints"), "control"),
        (Shape::Flink, "POST", job("/stop"), "control"),
        (Shape::Flink, "PUT", job("/resource-requirements"), "control"),
        (Shape::Flink, "POST", "/v1/jobs".to_owned(), "control"),
        (Shape::Flink, "POST", "/flink/jars/upload".to_owned(), "control"),
        (Shape::Flink, "GET", "/jars/x.jar/plan".to_owned(), "control"),
        (Shape::Flink, "POST", "/jars/x.jar/run".to_owned(), "control"),
        (Shape::Flink, "DELETE", "/cluster".to_owned(), "control"),
        (Shape::Tsp, "GET", "/tsp/jobs/overview/".to_owned(), "read"),
        (Shape::Tsp, "GET", "/tsp/job/x/status/".to_owned(), "read"),
        (Shape::Tsp, "GET", "/tsp/job/x/exceptions".to_owned(), "read"),
        (Shape::Tsp, "GET", "/tsp/job/x/stop/".to_owned(), "control"),
    ] {
        let ask = |token: &str| guarded.ask(token, method, &path, &[], b"");
        for (token, status, message) in [
            ("", 401, format!("the right to {right} needs a token")),
            ("wrong", 401, "the token is not known".to_owned()),
            (&format!("not-{right}"), 403, format!("has not the right to {right}")),
        ] {
            let answer = ask(token);
            assert_eq!(answer.status, status, "{method} {path} with {token:?}: {}", answer.body);
            assert!(shape.message_of(&answer).contains(&message), "{method} {path} with {token:?}: {}", answer.body);
            assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{method} {path}");
        }
        for token in [right, "of-one"] {
            let answer = ask(token);
            assert!(![401, 403].contains(&answer.status), "{method} {path} with {token:?}: {}", answer.body);
        }
        let foreign = guarded.server.send(method, &path, &[("origin", "http://elsewhere.example")], b"");
        assert_eq!(foreign.status, 403, "{method} {path}: {}", foreign.body);
        assert!(shape.message_of(&foreign).contains("another origin"), "{method} {path}: {}", foreign.body);
    }
}

/// Their routes are other ones, with the same rights.
#[test]
fn listeners_of_one_dialect_want_rights_too() {
    let options = [("flink_listen", "127.0.0.1:0"), ("tsp_listen", "127.0.0.1:0"), ("auth_local", "none")];
    let guarded = Guarded::with(&TOKENS, &options);
    for path in ["/jobs", "/v1/jobs/overview", "/flink/config", "//jars"] {
        let answer = guarded.server.get_flink(path);
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
        assert!(Shape::Flink.message_of(&answer).contains("the right to read"), "{path}: {}", answer.body);
    }
    for (path, right) in [("/jobs/overview/", "read"), ("/job/x/status", "read"), ("/job/x/stop/", "control")] {
        let answer = guarded.server.get_tsp(path);
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
        assert!(Shape::Tsp.message_of(&answer).contains(&format!("the right to {right}")), "{path}: {}", answer.body);
    }
}

/// Rights come before all that a request says: nothing of its body is read.
#[test]
fn a_body_is_nobodys_to_send_without_the_right() {
    let guarded = Guarded::with(&TOKENS, &[("query.max_body_bytes", "1000"), ("ingest.max_body_bytes", "1000")]);
    let oversized = vec![b'x'; 5000];
    for (method, path) in [
        ("POST", "/api/v1/query"),
        ("POST", "/api/v1/write"),
        ("POST", "/api/metrics/report"),
        ("POST", "/api/worker/pool/register"),
        ("POST", "/api/v1/admin/tsdb/delete_series"),
        ("POST", "/jars/upload"),
    ] {
        let answer = guarded.ask("", method, path, &[("content-type", "text/csv")], &oversized);
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
    }
}

#[test]
fn tokens_are_read_again_on_reload() {
    let guarded = Guarded::with(&TOKENS, &[]);
    let path = guarded._dir.path().join("tokens.toml");
    let reload = || guarded.ask("admin", "POST", "/-/reload", &[], b"");
    let reads = || guarded.get("read", "/api/v1/query?query=1").status;
    assert_eq!(reads(), 200);
    std::fs::write(&path, "read\n").unwrap();
    let refused = reload();
    assert!(refused.status == 500 && refused.body.contains("tokens.toml"), "{}", refused.body);
    assert_eq!(reads(), 200, "a wrong file changes nothing");
    let admin = Token { name: "admin".into(), rights: Rights::ALL, org: None };
    std::fs::write(&path, with_entry("", &admin, "admin").unwrap()).unwrap();
    assert_eq!((reload().status, reads()), (200, 401), "taken back");
    assert_eq!(guarded.server.get("/api/v1/query?query=1").status, 200, "this machine needs none");
}

/// The programs make a token, say what is wrong with a file of them, and ask with one.
#[test]
fn the_command_line_makes_tokens_and_asks_with_them() {
    let guarded = Guarded::with(&TOKENS, &[("auth_local", "none")]);
    let (dir, url) = (guarded._dir.path(), guarded.server.url(""));
    let path = |name: &str| dir.join(name).display().to_string();
    let tokens = path("tokens.toml");
    let made = run(&["token", "--file", &tokens, "--name", "new", "--rights", "read"]);
    let secret = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success() && secret.starts_with("sgt_") && secret.ends_with('\n'), "{secret}");
    assert!(!std::fs::read_to_string(&tokens).unwrap().contains(secret.trim()), "only its hash is kept");
    std::fs::write(path("new.token"), &secret).unwrap();
    let query = |more: &[&str]| run(&[&["query", "1 + 1", "--url", &url], more].concat());
    let (token, to) = (path("new.token"), path("all.jsonl"));
    let with_token = ["--token-file", token.as_str()];
    let refused = |output: std::process::Output| (output.status.code(), String::from_utf8(output.stderr).unwrap());
    let (code, said) = refused(query(&with_token));
    assert!(code == Some(1) && said.contains("not known"), "before the reload: {said}");
    assert_eq!(guarded.ask("admin", "POST", "/-/reload", &[], b"").status, 200);
    let answered = query(&with_token);
    assert!(answered.status.success() && String::from_utf8_lossy(&answered.stdout).contains('2'), "{answered:?}");
    let (code, said) = refused(query(&[]));
    assert!(code == Some(1) && said.contains("needs a token"), "{said}");
    let exported = run(&[&["export", "--url", &url, "--to", &to][..], &with_token].concat());
    assert!(exported.status.success(), "{exported:?}");
    let (code, said) = refused(run(&["check-config", "--auth-token-file", &token]));
    assert!(code == Some(1) && said.contains("new.token") && said.contains("streamgauge token"), "{said}");
    assert!(run(&["check-config", "--auth-token-file", &tokens]).status.success());
}

/// The jobs that scrape the server itself need no token of the file, wherever they seem to come from.
#[test]
fn the_server_scrapes_itself_whatever_is_closed() {
    let options = [("auth_local", "none"), ("scrape_self", "true"), ("scrape_self_interval", "1s")];
    let guarded = Guarded::with(&TOKENS, &options);
    assert_eq!(guarded.server.get("/metrics").status, 401, "this machine has no rights here");
    let up = |job: &str| {
        let answer = guarded.get("read", &format!("/api/v1/query?query=up%7Bjob%3D%22{job}%22%7D")).json();
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    let begun = std::time::Instant::now();
    while up("streamgauge").is_none() || up("node").is_none() {
        assert!(begun.elapsed().as_secs() < 30, "no scrape");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!((up("streamgauge").as_deref(), up("node").as_deref()), (Some("1"), Some("1")));
}
