//! Both messages of remote write, without their compression: an error or a batch, never a panic. The first byte chooses.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use streamgauge::remote_write::{Intake, Message, decode};
use streamgauge::{App, Config};

static APP: LazyLock<(Arc<App>, tempfile::TempDir)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::defaults().unwrap();
    config.data = dir.path().join("data");
    (App::open(config).unwrap(), dir)
});

fuzz_target!(|data: &[u8]| {
    let Some((version, body)) = data.split_first() else { return };
    let app = &APP.0;
    let mut intake = Intake::new(&app.ingest, &app.remote_write, 1000, None);
    let message = if version % 2 == 0 { Message::V1 } else { Message::V2 };
    let _ = decode(message, body, &mut intake);
});
