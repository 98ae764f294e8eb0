//! Logs: one line per event on standard error, text or JSON; what may stand in them at all.
//!
//! No secret is given to a log by this crate (S12). Two things that others would write are kept out here: what dependencies say
//! below `info`, where HTTP libraries print whole headers and frames, and the formatted message of a panic.

use std::{any::Any, backtrace::Backtrace, io::IsTerminal as _, panic::PanicHookInfo};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::filter_fn,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// What is logged where nothing else is asked for.
const DEFAULT_FILTER: &str = "info";

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object (`timestamp`, `level`, `target`, `message` and the event's fields).
    Json,
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error(
        "RUST_LOG is not a log filter ({0}): write a level, as in RUST_LOG=debug, or levels by module, as in RUST_LOG=info,keywright::controller=debug"
    )]
    Filter(String),
    /// A second call in one process.
    #[error("logging was started twice")]
    Twice,
}

/// Starts logging with one line that names the version, and logs panics from then on. `filter` is the value of `RUST_LOG`.
///
/// # Errors
/// [`TelemetryError`] where the filter cannot be read, or logging has started before.
pub fn start(format: Format, filter: Option<&str>) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal();
    subscriber(format, filter, colours, std::io::stderr)?.try_init().map_err(|_| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "keywright starts");
    Ok(())
}

fn subscriber<W>(format: Format, filter: Option<&str>, colours: bool, writer: W) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wanted = filter.filter(|text| !text.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    let wanted = EnvFilter::try_new(wanted).map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let lines = match format {
        Format::Text => layer().with_writer(writer).with_ansi(colours).boxed(),
        Format::Json => layer().json().flatten_event(true).with_current_span(false).with_span_list(true).with_writer(writer).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(filter_fn(may_be_logged))).with(wanted))
}

fn may_be_logged(event: &Metadata<'_>) -> bool {
    let target = event.target();
    // kube's client warns with the whole body of an answer that it cannot read: that may be a Secret.
    let most = if target.starts_with("kube_client") { Level::ERROR } else { Level::INFO };
    target.starts_with(env!("CARGO_CRATE_NAME")) || *event.level() <= most
}

/// Says where, and by which code path. The message only where it is a literal: a formatted one may hold a secret.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let backtrace = Backtrace::capture();
    tracing::error!(place, thread, %backtrace, reason = literal(panic.payload()), "a defect: this task panicked");
}

fn literal(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("withheld, it may hold a secret")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{self, Write},
        process::Command,
        sync::{Arc, Mutex},
    };

    /// Set in the process that panics for a test.
    const VICTIM: &str = "KEYWRIGHT_TEST_PANIC";

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn logged(format: Format, filter: Option<&str>, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        lines.text()
    }

    #[test]
    fn a_line_is_text_or_one_json_object() {
        let event = || tracing::info!(client = "shop/worker", "registered");
        let text = logged(Format::Text, None, event);
        assert!(text.ends_with("registered client=\"shop/worker\"\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&logged(Format::Json, None, event)).unwrap();
        assert_eq!((&json["level"], &json["message"], &json["client"]), (&"INFO".into(), &"registered".into(), &"shop/worker".into()));
        assert!(json["timestamp"].is_string() && json["target"].is_string());
    }

    #[test]
    fn the_filter_says_what_is_logged() {
        let events = || {
            tracing::warn!("loud");
            tracing::debug!("quiet");
        };
        let has = |filter: Option<&str>| {
            let text = logged(Format::Text, filter, events);
            (text.contains("loud"), text.contains("quiet"))
        };
        assert_eq!(has(None), (true, false));
        assert_eq!(has(Some("")), (true, false));
        assert_eq!(has(Some("debug")), (true, true));
        assert_eq!(has(Some("info,keywright=debug")), (true, true));
        assert_eq!(has(Some("error")), (false, false));
        assert_eq!(has(Some("off")), (false, false));
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_an_example() {
        let error = subscriber(Format::Text, Some("keywright=loud"), false, io::sink).err().unwrap().to_string();
        assert!(error.contains("RUST_LOG=debug"), "{error}");
    }

    /// S12: the frames and headers of HTTP libraries appear at no setting.
    #[test]
    fn dependencies_are_heard_at_info_and_above_alone() {
        let text = logged(Format::Text, Some("trace"), || {
            tracing::trace!(target: "h2::codec", "canary-trace");
            tracing::debug!(target: "kube_client::client", "canary-debug");
            tracing::warn!(target: "kube_client::client", "canary-body");
            tracing::error!(target: "kube_client::client", "said");
            tracing::info!(target: "hyper", "also said");
            tracing::trace!("ours");
        });
        assert!(!text.contains("canary") && text.contains(" said") && text.contains("also said") && text.contains("ours"), "{text}");
    }

    #[test]
    fn only_a_literal_reason_of_a_panic_is_told() {
        assert_eq!(literal(&"index out of order"), "index out of order");
        for formatted in [&"canary".to_owned() as &(dyn Any + Send), &7_u8] {
            assert_eq!(literal(formatted), "withheld, it may hold a secret");
        }
    }

    /// Not a test by itself: a process for the next one.
    #[test]
    fn a_process_that_panics() {
        if std::env::var_os(VICTIM).is_some() {
            start(Format::Json, Some("trace")).unwrap();
            assert!(matches!(start(Format::Json, None), Err(TelemetryError::Twice)));
            let secret = "canary";
            panic!("the secret is {secret}");
        }
    }

    /// S12: the place of a panic is logged, its formatted message nowhere.
    #[test]
    fn a_panic_is_logged_without_what_it_says() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "telemetry::tests::a_process_that_panics"]).env(VICTIM, "1");
        let output = command.output().unwrap();
        assert!(!output.status.success());
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!printed.contains("canary"), "{printed}");
        let line = printed.lines().find(|line| line.contains("a defect")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
        assert!(json["place"].as_str().unwrap().starts_with(file!()), "{line}");
    }
}
