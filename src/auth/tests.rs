//! Rights of callers by token, place and page.

use super::*;

const HERE: &str = "127.0.0.1";
const THERE: &str = "10.0.0.7";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
}

/// One that knows these tokens: secret, rights, organization.
fn auth(tokens: &[(&str, &[Right], Option<&str>)], adjust: impl FnOnce(&mut Config)) -> Auth {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = tokens.iter().fold(String::new(), |text, (secret, rights, org)| {
        let token = Token { name: format!("of {secret}").into(), rights: Rights::of(rights), org: org.map(Arc::from) };
        with_entry(&text, &token, secret).unwrap()
    });
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let mut config = Config::defaults().unwrap();
    config.auth_token_file = (!tokens.is_empty()).then(|| file.path().to_owned());
    adjust(&mut config);
    Auth::open(&config).unwrap()
}

fn ask(auth: &Auth, peer: &str, pairs: &[(&'static str, &str)], need: Need) -> Result<(), Denied> {
    auth.caller(peer.parse().unwrap(), &headers(pairs)).check(need)
}

const LOCAL: (&str, &str) = ("host", "localhost:8082");

#[test]
fn a_bearer_token_is_seen_whichever_it_is() {
    let has = |given: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(given));
        has_bearer(&headers)
    };
    for given in ["Bearer anything", "bearer  x"] {
        assert!(has(given), "{given:?}");
    }
    for given in ["", "Bearer", "Bearer ", "Basic x", "x"] {
        assert!(!has(given), "{given:?}");
    }
    assert!(!has_bearer(&HeaderMap::new()));
}

#[test]
fn without_tokens_anyone_reads_and_writes_and_this_machine_does_everything() {
    let auth = auth(&[], |_| ());
    for right in [Right::Read, Right::Write] {
        assert_eq!(ask(&auth, THERE, &[("host", "a")], Need::whole(right)), Ok(()));
        assert_eq!(ask(&auth, THERE, &[("authorization", "Basic dTpw")], Need::of(right)), Ok(()), "meant for a proxy");
    }
    for right in [Right::Control, Right::Admin] {
        assert_eq!(ask(&auth, HERE, &[LOCAL], Need::whole(right)), Ok(()));
        assert_eq!(ask(&auth, THERE, &[LOCAL], Need::of(right)), Err(Denied::Missing(right)));
        assert_eq!(ask(&auth, HERE, &[("host", "rebound.example")], Need::of(right)), Err(Denied::Missing(right)));
        assert_eq!(ask(&auth, HERE, &[LOCAL, ("via", "1.1 proxy")], Need::of(right)), Err(Denied::Missing(right)));
        let wrong = ask(&auth, HERE, &[LOCAL, ("authorization", "Bearer x")], Need::of(right));
        assert_eq!(wrong, Err(Denied::Unknown), "a token that is given must be right");
    }
}

/// Without a file of tokens, what is sent as one neither gives nor takes the right to read and write.
#[test]
fn a_token_that_nobody_looks_at_changes_nothing() {
    let given = |sender: (&str, &'static str)| [("host", sender.1), ("authorization", "Bearer x")].to_vec();
    let (here, there) = ((HERE, "localhost:8082"), (THERE, "a"));
    let closed = auth(&[], |config| config.auth_anonymous = "none".parse().unwrap());
    let narrow = auth(&[], |config| config.auth_local = Rights::NONE);
    for right in [Right::Read, Right::Write] {
        let ask = |auth: &Auth, sender: (&str, &'static str)| ask(auth, sender.0, &given(sender), Need::of(right));
        assert_eq!((ask(&closed, here), ask(&closed, there)), (Ok(()), Err(Denied::Unknown)), "{right:?}");
        assert_eq!((ask(&narrow, here), ask(&narrow, there)), (Err(Denied::Unknown), Ok(())), "{right:?}");
    }
    assert_eq!(ask(&closed, HERE, &given(here), Need::of(Right::Control)), Err(Denied::Unknown));
}

#[test]
fn a_page_of_another_origin_only_reads_what_anyone_may() {
    for (tokens, read) in [(&[][..], Ok(())), (&[("s", &[Right::Read][..], None)], Err(Denied::Foreign))] {
        let auth = auth(tokens, |_| ());
        for sign in [("origin", "http://elsewhere.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            let ask = |right| ask(&auth, HERE, &[LOCAL, sign], Need::of(right));
            assert_eq!(ask(Right::Read), read, "what anyone may read");
            for right in [Right::Write, Right::Control, Right::Admin] {
                assert_eq!(ask(right), Err(Denied::Foreign), "{sign:?} {right:?}");
            }
        }
    }
    let auth = auth(&[], |_| ());
    let basic = [LOCAL, ("origin", "null"), ("authorization", "Basic dTpw")];
    assert_eq!(ask(&auth, HERE, &basic, Need::of(Right::Write)), Err(Denied::Unknown));
}

#[test]
fn a_token_has_its_rights_wherever_it_comes_from() {
    let auth = auth(&[("r", &[Right::Read], None), ("a", &[Right::Admin], None)], |_| ());
    for given in ["Bearer r", "bearer r", "BEARER  r"] {
        let ask = |right| ask(&auth, THERE, &[("host", "a"), ("authorization", given)], Need::whole(right));
        assert_eq!(ask(Right::Read), Ok(()), "{given}");
        assert_eq!(ask(Right::Write), Err(Denied::Insufficient { name: "of r".into(), right: Right::Write }));
    }
    for right in Right::ALL {
        assert_eq!(ask(&auth, THERE, &[("authorization", "Bearer a")], Need::whole(right)), Ok(()));
        for given in ["Basic r", "r", "Bearer", "Bearerr", "Bearer ra", "Bearer ", "Basic dTpw"] {
            let asked = ask(&auth, HERE, &[LOCAL, ("authorization", given)], Need::of(right));
            assert_eq!(asked, Err(Denied::Unknown), "{given}");
        }
        assert_eq!(ask(&auth, THERE, &[("host", "a")], Need::of(right)), Err(Denied::Missing(right)));
        assert_eq!(ask(&auth, HERE, &[LOCAL], Need::of(right)), Ok(()), "this machine");
    }
}

#[test]
fn a_token_of_an_organization_sees_it_and_nothing_of_the_whole() {
    let auth = auth(&[("o", &[Right::Admin], Some("team"))], |_| ());
    let caller = auth.caller(THERE.parse().unwrap(), &headers(&[("authorization", "Bearer o")]));
    assert_eq!(caller.check(Need::of(Right::Admin)), Ok(()));
    assert_eq!(caller.check(Need::whole(Right::Read)), Err(Denied::Confined { name: "of o".into() }));
    let scope = caller.scope();
    let forced = scope.forced().unwrap();
    assert_eq!((forced.name(), forced.matches("team"), forced.matches("")), ("org", true, false));
    let nobody = auth.caller(HERE.parse().unwrap(), &headers(&[LOCAL]));
    assert!(nobody.scope().forced().is_none());
}

#[test]
fn what_is_open_without_a_token_can_be_chosen() {
    let given: &[(&str, &[Right], Option<&str>)] = &[("s", &[Right::Read], None)];
    let auth = auth(given, |config| {
        config.auth_local = Rights::of(&[Right::Read]);
        config.auth_anonymous = "read".parse().unwrap();
    });
    assert_eq!(ask(&auth, THERE, &[], Need::of(Right::Read)), Ok(()));
    assert_eq!(ask(&auth, THERE, &[], Need::of(Right::Write)), Err(Denied::Missing(Right::Write)));
    assert_eq!(ask(&auth, HERE, &[LOCAL], Need::of(Right::Admin)), Err(Denied::Missing(Right::Admin)));
    let own = format!("Bearer {}", auth.own_secret());
    assert_eq!(ask(&auth, THERE, &[("authorization", &own)], Need::whole(Right::Read)), Ok(()));
    assert!(ask(&auth, THERE, &[("authorization", &own)], Need::of(Right::Write)).is_err());
}

#[test]
fn a_file_that_cannot_be_read_again_leaves_the_tokens_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.toml");
    let token = |name: &str| Token { name: name.into(), rights: Rights::ALL, org: None };
    std::fs::write(&path, with_entry("", &token("old"), "old").unwrap()).unwrap();
    let config = Config { auth_token_file: Some(path.clone()), ..Config::defaults().unwrap() };
    let auth = Auth::open(&config).unwrap();
    let knows = |secret: &str| {
        let given = headers(&[("authorization", &format!("Bearer {secret}"))]);
        matches!(auth.caller(THERE.parse().unwrap(), &given), Caller::Known(_))
    };
    std::fs::write(&path, "[[token]]").unwrap();
    let said = auth.reload().unwrap_err();
    assert!(said.contains("tokens.toml") && knows("old"), "{said}");
    std::fs::write(&path, with_entry("", &token("new"), "new").unwrap()).unwrap();
    assert_eq!((auth.reload(), knows("old"), knows("new")), (Ok(1), false, true));
    std::fs::write(&path, "").unwrap();
    assert_eq!(auth.reload(), Ok(0), "a file without tokens opens nothing");
    assert_eq!(ask(&auth, THERE, &[], Need::of(Right::Read)), Err(Denied::Missing(Right::Read)));
    std::fs::remove_file(&path).unwrap();
    assert!(auth.reload().is_err() && Auth::open(&config).is_err());
}
