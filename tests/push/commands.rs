//! Commands for the agents of pushed jobs, given in Flink's and TSP's dialects and in our own.

use super::*;

/// What Flink's dialect says of something that was triggered.
fn status(server: &Server, hex: &str, kind: &str, trigger: &str) -> Value {
    got(server, &format!("/jobs/{hex}/{kind}/{trigger}"))
}

fn in_progress() -> Value {
    json!({"status": {"id": "IN_PROGRESS"}, "operation": null})
}

fn pending(server: &Server) -> Vec<Value> {
    got(server, &format!("{PATH}/commands?state=pending"))["commands"].as_array().unwrap().clone()
}

#[test]
fn an_agent_waits_for_a_savepoint_and_flinks_client_for_the_agent() {
    let clock = SetClock::new();
    clock.set(100_000);
    let server = Server::with_clock(&[], clock);
    let hex = running(&server);
    let trigger = std::thread::scope(|scope| {
        let agent = scope.spawn(|| got(&server, &format!("{PATH}/commands?state=pending&wait=20s")));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!agent.is_finished(), "there is none yet");
        let body = json!({"target-directory": "s3://s", "cancel-job": false, "formatType": "NATIVE"});
        let answer = send(&server, "POST", &format!("/jobs/{hex}/savepoints"), &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        let trigger = answer.json()["request-id"].as_str().unwrap().to_owned();
        let began = Instant::now();
        let commands = agent.join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "it is woken");
        assert_eq!(
            (&commands["commands"][0]["id"], &commands["commands"][0]["kind"]),
            (&json!(trigger), &json!("savepoint"))
        );
        let parameters = json!({"target_directory": "s3://s", "format": "NATIVE", "cancel_job": false});
        assert_eq!(commands["commands"][0]["parameters"], parameters);
        trigger
    });
    assert_eq!(status(&server, &hex, "savepoints", &trigger), in_progress());
    let command = format!("{PATH}/commands/{trigger}");
    sent(&server, "PUT", &command, &json!({"state": "running"}));
    assert_eq!(status(&server, &hex, "savepoints", &trigger), in_progress());
    assert_eq!(pending(&server), Vec::<Value>::new());
    let server = server.restart();
    assert_eq!(sent(&server, "POST", &format!("{PATH}/heartbeat"), &json!({}))["commands"][0]["id"], json!(trigger));
    sent(&server, "PUT", &command, &json!({"state": "completed", "location": "s3://s/1"}));
    let done = json!({"status": {"id": "COMPLETED"}, "operation": {"location": "s3://s/1"}});
    assert_eq!(status(&server, &hex, "savepoints", &trigger), done);
    sent(&server, "PUT", &command, &json!({"state": "completed", "location": "s3://s/1"}));
    let other = send(&server, "PUT", &command, &json!({"state": "failed", "error": "no"}));
    assert_eq!((other.status, other.json()["error"].as_str().unwrap().contains("is completed already")), (409, true));
    assert_eq!(sent(&server, "POST", &format!("{PATH}/heartbeat"), &json!({}))["commands"], json!([]));
}

#[test]
fn each_request_of_flinks_clients_is_a_command() {
    let clock = SetClock::new();
    clock.set(100_000);
    let server = Server::with_clock(&[], clock);
    let mut able = graph();
    able["commands"] = json!(["cancel", "stop", "savepoint", "checkpoint", "rescale"]);
    let hex = sent(&server, "PUT", PATH, &able)["flink_id"].as_str().unwrap().to_owned();
    let job = |rest: &str| format!("/jobs/{hex}{rest}");
    let newest = || pending(&server).last().cloned().unwrap();
    let stop = sent(&server, "POST", &job("/stop"), &json!({"targetDirectory": "s3://t", "drain": true}));
    assert_eq!(
        (&newest()["kind"], &newest()["parameters"]),
        (&json!("stop"), &json!({"target_directory": "s3://t", "drain": true}))
    );
    let stop = stop["request-id"].as_str().unwrap();
    sent(
        &server,
        "PUT",
        &format!("{PATH}/commands/{stop}"),
        &json!({"state": "failed", "error": "no disk", "error_class": "java.io.X"}),
    );
    let cause = &status(&server, &hex, "savepoints", stop)["operation"]["failure-cause"];
    assert_eq!((&cause["class"], &cause["stack-trace"]), (&json!("java.io.X"), &json!("java.io.X: no disk")));
    let own = "0123456789abcdef0123456789abcdef";
    for _ in 0..2 {
        let checkpoint =
            sent(&server, "POST", &job("/checkpoints"), &json!({"checkpointType": "FULL", "triggerId": own}));
        assert_eq!(checkpoint["request-id"], own, "the same id is the same command");
    }
    sent(&server, "PUT", &format!("{PATH}/commands/{own}"), &json!({"state": "completed", "checkpoint": 9}));
    assert_eq!(status(&server, &hex, "checkpoints", own)["operation"], json!({"checkpointId": 9}));
    let rescaled = send(&server, "PATCH", &job("/rescaling?parallelism=4"), &json!({}));
    assert_eq!((rescaled.status, &newest()["parameters"]), (200, &json!({"parallelism": 4})));
    let rescaling = rescaled.json()["request-id"].as_str().unwrap().to_owned();
    sent(&server, "PUT", &format!("{PATH}/commands/{rescaling}"), &json!({"state": "completed"}));
    let done = json!({"status": {"id": "COMPLETED"}, "operation": {}});
    assert_eq!(status(&server, &hex, "rescaling", &rescaling), done);
    let needs = got(&server, &job("/resource-requirements"));
    let score = got(&server, &job(""))["vertices"][1]["id"].as_str().unwrap().to_owned();
    assert_eq!(needs[&score], json!({"parallelism": {"lowerBound": 1, "upperBound": 2}}));
    let wanted = json!({&score: {"parallelism": {"lowerBound": 1, "upperBound": 6}}});
    assert_eq!(sent(&server, "PUT", &job("/resource-requirements"), &wanted), json!({}));
    assert_eq!(newest()["parameters"], json!({"vertices": {"score": 6}}));
    let cancelled = send(&server, "PATCH", &job("?mode=cancel"), &json!({}));
    assert_eq!((cancelled.status, cancelled.json()), (202, json!({})));
    assert_eq!(newest()["kind"], "cancel");
    let before = pending(&server).len();
    assert_eq!(server.get("/tsp/job/nightly/stop/").json(), json!({"response": 1, "messages": []}));
    assert_eq!(pending(&server).len(), before, "the cancellation waits already");
}

#[test]
fn what_nobody_takes_or_can_do_is_said_in_the_dialects_shape() {
    let clock = SetClock::new();
    let server = Server::with_clock(&[("jobs.command_timeout", "30s")], clock.clone());
    let hex = running(&server);
    let job = |rest: &str| format!("/jobs/{hex}{rest}");
    let given = sent(&server, "POST", &job("/savepoints"), &json!({}));
    let trigger = given["request-id"].as_str().unwrap();
    clock.set(29_999);
    assert_eq!(status(&server, &hex, "savepoints", trigger), in_progress());
    clock.set(30_000);
    let failed = status(&server, &hex, "savepoints", trigger);
    assert_eq!(failed["status"]["id"], "COMPLETED");
    let trace = failed["operation"]["failure-cause"]["stack-trace"].as_str().unwrap().to_owned();
    assert!(trace.contains("no agent took the command within 30000 ms (jobs.command_timeout)"), "{trace}");
    let unknown = "0000000000000000000000000000000f";
    for (method, path, body, status, message) in [
        ("PATCH", job("/rescaling?parallelism=2"), json!({}), 503, "takes no command \"rescale\""),
        ("PATCH", job("/rescaling"), json!({}), 400, "parallelism is needed"),
        ("PATCH", job("/rescaling?parallelism=0"), json!({}), 400, "Cannot resolve query parameter (parallelism)"),
        ("PATCH", job("?mode=stop"), json!({}), 308, "The termination mode \"stop\" has been removed."),
        ("PATCH", job("?mode=bogus"), json!({}), 400, "Cannot resolve query parameter (mode) from value \"bogus\""),
        (
            "POST",
            job("/savepoints"),
            json!([]),
            400,
            "Request did not match expected format SavepointTriggerRequestBody.",
        ),
        ("POST", job("/stop"), json!({"drain": "yes"}), 400, "Request did not match expected format StopWith"),
        ("POST", job("/savepoints"), json!({"triggerId": "x"}), 400, "Cannot resolve path parameter (triggerId)"),
        (
            "GET",
            job(&format!("/savepoints/{unknown}")),
            Value::Null,
            404,
            "There is no savepoint operation with triggerId=",
        ),
        ("GET", job(&format!("/checkpoints/{trigger}")), Value::Null, 404, "There is no checkpoint operation"),
        ("GET", job("/savepoints/nothex"), Value::Null, 400, "Cannot resolve path parameter (triggerid)"),
        ("PATCH", job("/clientHeartbeat"), json!({"expiredTimestamp": 1}), 503, "nobody can carry this out"),
    ] {
        let answer = if body.is_null() { server.get(&path) } else { send(&server, method, &path, &body) };
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let error = answer.json()["errors"][0].as_str().unwrap().to_owned();
        assert!(error.contains(message), "{method} {path}: {error}");
    }
    let foreign = server.send("PATCH", &job("?mode=cancel"), &[("origin", "http://evil.example")], b"");
    assert_eq!((foreign.status, foreign.json()["errors"].is_array()), (403, true));
    sent(&server, "PUT", "/api/jobs/alone", &json!({"name": "alone", "at": START_MS}));
    let answer = server.get("/tsp/job/alone/stop");
    assert_eq!((answer.status, &answer.json()["errorCode"]), (500, &json!(5005)));
    assert!(answer.body.contains("takes no command"), "{}", answer.body);
}

#[test]
fn a_job_that_has_ended_takes_no_commands_any_more() {
    let clock = SetClock::new();
    clock.set(100_000);
    let server = Server::with_clock(&[], clock);
    let hex = running(&server);
    sent(&server, "POST", &format!("{PATH}/report"), &json!({"state": "FINISHED"}));
    let given = send(&server, "POST", &format!("/jobs/{hex}/savepoints"), &json!({}));
    assert_eq!(given.status, 202, "as Flink does");
    let trigger = given.json()["request-id"].as_str().unwrap().to_owned();
    let cause = &status(&server, &hex, "savepoints", &trigger)["operation"]["failure-cause"];
    assert_eq!(
        (&cause["class"], cause["stack-trace"].as_str().unwrap().contains("is FINISHED already")),
        (&json!("JobEnded"), true)
    );
    let cancelled = send(&server, "PATCH", &format!("/jobs/{hex}"), &json!({}));
    assert_eq!(cancelled.status, 409);
    assert!(cancelled.json()["errors"][0].as_str().unwrap().contains("another terminal state (FINISHED)"));
    let answer = sent(&server, "POST", &format!("{PATH}/heartbeat"), &json!({}));
    assert_eq!(
        (&answer["state"], &answer["interval_ms"], &answer["commands"]),
        (&json!("FINISHED"), &Value::Null, &json!([]))
    );
    let began = Instant::now();
    assert_eq!(got(&server, &format!("{PATH}/commands?state=pending&wait=20s")), json!({"commands": []}));
    assert!(began.elapsed() < Duration::from_secs(10), "there is nothing to wait for");
    sent(
        &server,
        "PUT",
        "/api/jobs/c",
        &json!({"name": "c", "at": START_MS, "state": "CANCELED", "commands": ["cancel"]}),
    );
    let hex = got(&server, "/jobs/overview")["jobs"].as_array().unwrap().iter().find(|job| job["name"] == "c").unwrap()
        ["jid"]
        .clone();
    let again = send(&server, "PATCH", &format!("/jobs/{}", hex.as_str().unwrap()), &json!({}));
    assert_eq!((again.status, again.json()), (202, json!({})));
}

#[test]
fn commands_are_given_in_our_own_api_too() {
    let server = Server::start();
    let mut able = graph();
    able.as_object_mut().unwrap().extend([("at".to_owned(), json!(1000)), ("started".to_owned(), json!(1000))]);
    sent(&server, "PUT", PATH, &able);
    let given = send(
        &server,
        "POST",
        &format!("{PATH}/commands"),
        &json!({"kind": "stop", "id": "tonight", "parameters": {"drain": true}}),
    );
    assert_eq!(given.status, 202);
    let shown = got(&server, &format!("{PATH}/commands/tonight"));
    assert_eq!((&shown["state"], &shown["parameters"]), (&json!("pending"), &json!({"drain": true})));
    assert_eq!(shown, given.json());
    let failed =
        sent(&server, "PUT", &format!("{PATH}/commands/tonight"), &json!({"state": "failed", "error": "not now"}));
    assert_eq!((&failed["state"], &failed["error"]), (&json!("failed"), &json!("not now")));
    assert_eq!(got(&server, &format!("{PATH}/commands"))["commands"].as_array().unwrap().len(), 1);
}
