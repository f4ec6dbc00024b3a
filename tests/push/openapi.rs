//! Holds `docs/openapi/jobs.yaml` against the server: every operation is there and answers as it says, every field of every
//! body is taken, every required one is missed, every unknown one is refused, and the words are those of the model.

use std::collections::BTreeSet;

use streamgauge::jobs::{CheckpointState, CommandKind, CommandState, JobState, TaskState};

use super::*;

/// Operations in an order in which each finds what it needs.
const ORDER: [&str; 8] = [
    "createJob",
    "registerJob",
    "reportJob",
    "heartbeat",
    "giveCommand",
    "listCommands",
    "getCommand",
    "answerCommand",
];

struct Operation {
    id: String,
    method: String,
    path: String,
    value: Value,
}

struct Api(Value);

impl Api {
    fn load() -> Api {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi/jobs.yaml");
        Api(serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// Follows references.
    fn of<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(to) => self.of(self.0.pointer(to.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("no {to}"))),
            None => value,
        }
    }

    fn operations(&self) -> Vec<Operation> {
        let mut all = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            let shared = item["parameters"].as_array().cloned().unwrap_or_default();
            let filled = shared.iter().map(|parameter| self.of(parameter)).fold(path.clone(), |path, parameter| {
                let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
                assert!(path.contains(&name), "{path} has no {name}");
                path.replace(&name, parameter["example"].as_str().unwrap())
            });
            assert!(!filled.contains('{'), "{path} has a parameter without an example");
            for (method, value) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                let id = value["operationId"].as_str().unwrap().to_owned();
                all.push(Operation { id, method: method.to_uppercase(), path: filled.clone(), value: value.clone() });
            }
        }
        let place = |operation: &Operation| ORDER.iter().position(|id| *id == operation.id);
        assert!(all.iter().all(|operation| place(operation).is_some()), "an operation without a place in ORDER");
        assert_eq!(all.len(), ORDER.len());
        all.sort_by_key(place);
        all
    }

    fn body<'a>(&'a self, operation: &'a Operation) -> Option<(&'a Value, &'a Value)> {
        let content = &operation.value["requestBody"]["content"]["application/json"];
        content.is_object().then(|| (self.of(&content["schema"]), &content["example"]))
    }

    /// Says where a value is not what a schema says.
    fn check(&self, schema: &Value, value: &Value, at: &str) {
        let schema = self.of(schema);
        let words = |types: &Value| match types {
            Value::String(one) => vec![one.clone()],
            other => other
                .as_array()
                .map(|all| all.iter().map(|one| one.as_str().unwrap().to_owned()).collect())
                .unwrap_or_default(),
        };
        let types = words(&schema["type"]);
        let fits = |kind: &String| match kind.as_str() {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            other => panic!("{at}: unknown type {other}"),
        };
        assert!(types.is_empty() || types.iter().any(fits), "{at}: {value} is none of {types:?}");
        if let Some(words) = schema["enum"].as_array() {
            assert!(words.contains(value), "{at}: {value} is none of {words:?}");
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: no {name} in {value}");
        }
        for (name, inner) in value.as_object().into_iter().flatten() {
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(known), _) => self.check(known, inner, &format!("{at}/{name}")),
                (None, Value::Bool(false)) => panic!("{at}: {name} is not described"),
                (None, other) if other.is_object() => self.check(other, inner, &format!("{at}/{name}")),
                (None, _) => assert!(schema["properties"].is_null(), "{at}: {name} is not described"),
            }
        }
        for (i, inner) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&schema["items"], inner, &format!("{at}/{i}"));
        }
    }

    /// Every object in a value with its schema, by pointer.
    fn objects<'a>(&'a self, schema: &'a Value, value: &Value, at: String, found: &mut Vec<(String, &'a Value)>) {
        let schema = self.of(schema);
        if let Some(object) = value.as_object() {
            if schema["properties"].is_object() {
                found.push((at.clone(), schema));
            }
            for (name, inner) in object.iter().filter(|(name, _)| schema["properties"].get(name).is_some()) {
                self.objects(&schema["properties"][name], inner, format!("{at}/{name}"), found);
            }
        }
        for (i, inner) in value.as_array().into_iter().flatten().enumerate() {
            self.objects(&schema["items"], inner, format!("{at}/{i}"), found);
        }
    }
}

fn server() -> Server {
    let clock = SetClock::new();
    clock.set(600_000);
    Server::with_clock(&[], clock)
}

fn ask(server: &Server, operation: &Operation, body: Option<&Value>) -> Answer {
    match body {
        Some(body) => send(server, &operation.method, &operation.path, body),
        None => server.send(&operation.method, &operation.path, &[], b""),
    }
}

#[test]
fn every_operation_answers_as_the_file_says() {
    let (api, server) = (Api::load(), server());
    for operation in api.operations() {
        let body = api.body(&operation);
        if let Some((schema, example)) = body {
            api.check(schema, example, &operation.id);
        }
        let answer = ask(&server, &operation, body.map(|(_, example)| example));
        assert!((200..300).contains(&answer.status), "{}: {} {}", operation.id, answer.status, answer.body);
        let said = api.of(&operation.value["responses"][answer.status.to_string()]);
        assert!(said.is_object(), "{}: {} is not in the file", operation.id, answer.status);
        let schema = &said["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{}: the answer has no schema", operation.id);
        api.check(schema, &answer.json(), &operation.id);
    }
    // What the examples tell is there.
    let job = got(&server, "/api/jobs/orders-2026-11-21");
    assert_eq!((&job["state"], &job["cluster"]), (&json!("RUNNING"), &json!("etl-1")));
}

#[test]
fn every_field_is_taken_required_ones_are_missed_and_others_refused() {
    let (api, server) = (Api::load(), server());
    for operation in api.operations() {
        let Some((schema, example)) = api.body(&operation) else { continue };
        assert!((200..300).contains(&ask(&server, &operation, Some(example)).status), "{}", operation.id);
        let mut objects = Vec::new();
        api.objects(schema, example, String::new(), &mut objects);
        for (at, schema) in &objects {
            let with = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
                let mut body = example.clone();
                change(body.pointer_mut(at).unwrap().as_object_mut().unwrap());
                ask(&server, &operation, Some(&body))
            };
            for name in schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
                let answer = with(&|object| {
                    object.remove(name);
                });
                assert_eq!(answer.status, 400, "{} without {at}/{name}: {}", operation.id, answer.body);
                assert!(answer.body.contains(name), "{}: {}", operation.id, answer.body);
                api.check(
                    &api.0["components"]["responses"]["Error"]["content"]["application/json"]["schema"],
                    &answer.json(),
                    "Error",
                );
            }
            if schema["additionalProperties"] == false {
                let answer = with(&|object| {
                    object.insert("nosuch".to_owned(), json!(1));
                });
                assert_eq!(answer.status, 400, "{} with {at}/nosuch: {}", operation.id, answer.body);
                assert!(answer.body.contains("nosuch"), "{}: {}", operation.id, answer.body);
            }
        }
        // The examples of the first and of those with few fields need not have all.
        if ["registerJob", "reportJob", "giveCommand"].contains(&operation.id.as_str()) {
            let mut shown: BTreeSet<(String, String)> = BTreeSet::new();
            let mut all = BTreeSet::new();
            for (at, schema) in &objects {
                let key = |name: &String| (format!("{:p}", *schema), name.clone());
                all.extend(schema["properties"].as_object().unwrap().keys().map(key));
                shown.extend(example.pointer(at).unwrap().as_object().unwrap().keys().map(key));
            }
            let missing: Vec<&String> = all.difference(&shown).map(|(_, name)| name).collect();
            let known: &[&str] = if operation.id == "registerJob" {
                // The id stands in the path; subtasks are told of in the report.
                &["id", "attempt", "times", "endpoint", "task_manager", "execution_id", "io", "metrics"]
            } else {
                &[]
            };
            assert!(missing.iter().all(|name| known.contains(&name.as_str())), "{}: {missing:?}", operation.id);
        }
    }
}

#[test]
fn words_are_those_of_the_model() {
    let api = Api::load();
    let words = |name: &str| -> Vec<String> {
        let all = api.0["components"]["schemas"][name]["enum"].as_array().unwrap();
        all.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(words("JobState"), JobState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
    assert_eq!(words("TaskState"), TaskState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
    assert_eq!(words("CheckpointState"), CheckpointState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
    assert_eq!(words("CommandKind"), CommandKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    assert_eq!(words("CommandState"), CommandState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
}

/// `docs/api.md`, which a test compares with the router, has every operation, and the file has all that write.
#[test]
fn the_file_and_the_page_of_all_routes_name_the_same() {
    let api = Api::load();
    let mut here = BTreeSet::new();
    for (path, item) in api.0["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        here.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let mut there = BTreeSet::new();
    for cell in page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('`').nth(1)) {
        let Some((methods, path)) = cell.rsplit_once(' ').filter(|(_, path)| path.starts_with("/api/jobs")) else {
            continue;
        };
        there.extend(methods.split(", ").map(|method| (method.to_owned(), path.to_owned())));
    }
    let missing: Vec<_> = here.difference(&there).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    let reads = |(method, path): &&(String, String)| method == "GET" && !path.contains("/commands");
    let unsaid: Vec<_> = there.difference(&here).filter(|pair| !reads(pair)).collect();
    assert!(unsaid.is_empty(), "not in the file: {unsaid:?}");
}
