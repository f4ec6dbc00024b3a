//! Each of two organizations has a Flink cluster: requests that only a cluster can answer never reach that of the other.

use serde_json::{Value, json};
use streamgauge::auth::Right;

use super::Guarded;
use crate::exporter::{Exporter, Reply};

/// A job that only zebra's cluster knows, too young to be in the store.
const YOUNG: &str = "000000000000000000000000000000aa";

/// A cluster without jobs that says whose it is.
fn cluster(org: &'static str) -> Exporter {
    Exporter::start(move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        let answer = match path {
            "/overview" => json!({"flink-version": "2.3.0", "flink-commit": "c0f8d1a"}),
            "/config" => json!({"refresh-interval": 3000, "features": {"web-submit": true}}),
            "/jobs/overview" => json!({"jobs": []}),
            "/taskmanagers" => json!({"taskmanagers": []}),
            "/jars" => json!({"address": org, "files": []}),
            path if path.starts_with(&format!("/jobs/{YOUNG}")) && org == "zebra" => json!({"of": org}),
            _ => return Reply::status(404),
        };
        Reply::json(&answer.to_string())
    })
}

#[test]
fn a_cluster_is_reached_by_its_own_organization() {
    let (apple, zebra) = (cluster("apple"), cluster("zebra"));
    let followed = json!([
        {"name": "a", "urls": [format!("http://{}", apple.address)], "org": "apple", "interval": "1s"},
        {"name": "z", "urls": [format!("http://{}", zebra.address)], "org": "zebra", "interval": "1s"},
    ]);
    let tokens: [super::Given<'_>; 4] = [
        ("apple", &[Right::Read, Right::Control], Some("apple")),
        ("zebra", &[Right::Read, Right::Control], Some("zebra")),
        ("none", &[Right::Read, Right::Control], Some("none")),
        ("both", &[Right::Read, Right::Control], None),
    ];
    let guarded = Guarded::with(&tokens, &[("flink", &followed.to_string())]);
    let get = |token: &str, path: &str| {
        let answer = guarded.get(token, path);
        (answer.status, answer.json())
    };
    let jars = |of: &str| (200, json!({"address": of, "files": []}));
    assert_eq!((get("apple", "/jars"), get("zebra", "/flink/v1/jars")), (jars("apple"), jars("zebra")));
    assert_eq!((get("both", "/jars?cluster=a"), get("both", "/jars").0), (jars("apple"), 400));
    let message = |of: (u16, Value)| (of.0, of.1["errors"][0].as_str().unwrap_or_default().to_owned());
    assert_eq!(message(get("apple", "/jars?cluster=z")), (503, "The cluster z is not followed.".to_owned()));
    let (status, said) = message(get("none", "/jars"));
    assert!(status == 503 && said.starts_with("No cluster is followed"), "{said}");

    let young = format!("/jobs/{YOUNG}/status");
    assert_eq!((get("apple", &young).0, get("none", &young).0), (404, 404));
    assert_eq!(
        (get("zebra", &young), get("both", &young)),
        ((200, json!({"of": "zebra"})), (200, json!({"of": "zebra"})))
    );
    let cancel = |token: &str| guarded.ask(token, "PATCH", &format!("/jobs/{YOUNG}?by={token}"), &[], b"").status;
    assert_eq!((cancel("apple"), cancel("none"), cancel("zebra")), (404, 404, 200));
    let cancelled = |cluster: &Exporter| -> Vec<String> {
        let asked = cluster.asked().into_iter().map(|asked| asked.path);
        asked.filter_map(|path| path.split_once("?by=").map(|(_, by)| by.to_owned())).collect()
    };
    assert_eq!((cancelled(&apple), cancelled(&zebra)), (vec!["apple".to_owned()], vec!["zebra".to_owned()]));
    assert!(zebra.asked().iter().all(|asked| asked.header("authorization").is_none()), "no token of ours goes there");
}

/// Organizations choose the names of their clusters without each other.
#[test]
fn a_name_that_several_organizations_have_is_no_cluster_for_who_sees_all() {
    let (apple, zebra) = (cluster("apple"), cluster("zebra"));
    let of = |org: &str, cluster: &Exporter| json!({"name": "main", "urls": [format!("http://{}", cluster.address)], "org": org});
    let followed = json!([of("apple", &apple), of("zebra", &zebra)]);
    let tokens: [super::Given<'_>; 2] =
        [("zebra", &[Right::Control], Some("zebra")), ("both", &[Right::Control], None)];
    let guarded = Guarded::with(&tokens, &[("flink", &followed.to_string())]);
    let end = |token: &str| guarded.ask(token, "DELETE", "/cluster?cluster=main", &[], b"");
    let refused = end("both");
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("Several organizations have a cluster main"), "{}", refused.body);
    let ended = |cluster: &Exporter| cluster.asked().iter().filter(|asked| asked.method == "DELETE").count();
    assert_eq!((ended(&apple), ended(&zebra)), (0, 0));
    assert_eq!(end("zebra").status, 404, "what its own cluster says");
    assert_eq!((ended(&apple), ended(&zebra)), (0, 1));
}
