//! `streamgauge` without a subcommand: serves until SIGTERM or SIGINT.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Running};
use crate::bus_error;
use crate::config::{Config, Format};
use crate::workers::Workers;

/// An expression of `query.max_depth` takes about 1 MiB of stack, in a debug build several; untouched pages cost nothing.
const THREAD_STACK_BYTES: usize = 16 << 20;

/// Serves; gives back only after a clean end.
pub(super) fn run(config: Config) -> Result<(), String> {
    start_log(&config)?;
    bus_error::watch(&config.data).map_err(|e| format!("cannot watch for SIGBUS: {e}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(Workers::threads(&config))
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
        .map_err(|e| format!("cannot start threads: {e}"))?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let app = tokio::task::spawn_blocking(|| App::open(config))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
    let running = Running::start(app).await.map_err(|e| e.to_string())?;
    greet(&running);
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: stopping");
                break;
            }
            _ = interrupt.recv() => {
                tracing::info!("SIGINT: stopping");
                break;
            }
            _ = hangup.recv() => {
                if let Err(problems) = running.app.reload().await {
                    tracing::error!(%problems, "SIGHUP: the configuration is wrong, the old one goes on");
                }
            }
        }
    }
    running.stop().await.map_err(|e| e.to_string())?;
    tracing::info!("stopped");
    Ok(())
}

/// Says what to open.
fn greet(running: &Running) {
    let (config, address) = (&running.app.config, running.address);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %address,
        data = %config.data.display(),
        series = running.app.db.series_count(),
        "serving"
    );
    if config.log_format == Format::Text {
        // Whoever started the server may have closed its end: no reason not to serve.
        let _ = writeln!(
            std::io::stdout(),
            "Streamgauge serves on http://{address}\n\
             \x20 query    http://{address}/api/v1/query?query=up\n\
             \x20 report   POST http://{address}/api/metrics/report\n\
             \x20 write    http://{address}/api/v1/write   (Prometheus remote write)\n\
             \x20 export   http://{address}/api/metrics/prometheus\n\
             \x20 own      http://{address}/metrics"
        );
    }
}

fn start_log(config: &Config) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log_level).map_err(|e| format!("log_level: {e}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        Format::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        Format::Json => log.json().init(),
    }
    Ok(())
}
