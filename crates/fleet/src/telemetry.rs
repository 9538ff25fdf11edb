//! Logs to standard error and, where an OTLP endpoint is named, spans to it.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::Fault;
use crate::config::{Log, LogFormat};

/// What must be flushed before the process ends.
#[derive(Debug)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logging and tracing.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong filter or endpoint.
pub(crate) fn start(name: &str, log: &Log) -> Result<Telemetry, Fault> {
    // Spans pass whatever is logged. What an MCP server answers may have its token, and its client logs that.
    let filter = EnvFilter::try_new(format!("rmcp=off,{},tidemill_fleet::spans=info", log.filter))
        .map_err(|e| Fault::usage(format!("log.filter: {e}")))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let provider = exporter()?.map(|exporter| {
        let resource =
            opentelemetry_sdk::Resource::builder().with_service_name(format!("tidemill-{name}")).build();
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()
    });
    let spans = provider.as_ref().map(|provider| {
        crate::spans::export();
        tracing_opentelemetry::layer().with_tracer(provider.tracer("tidemill"))
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(spans)
        .try_init()
        .map_err(|e| Fault::bug(format!("logging cannot be started: {e}")))?;
    Ok(Telemetry { provider })
}

fn exporter() -> Result<Option<SpanExporter>, Fault> {
    let Ok(endpoint) = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
    if endpoint.is_empty() {
        return Ok(None);
    }
    // The exporter takes the endpoint as it is; the variable means the collector's root.
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    SpanExporter::builder()
        .with_http()
        .with_endpoint(&endpoint)
        .build()
        .map(Some)
        .map_err(|e| Fault::usage(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {endpoint}: {e}")))
}

impl Telemetry {
    /// Sends what is buffered. Blocks for a few seconds at most, off the async threads.
    pub(crate) async fn stop(self) {
        let Some(provider) = self.provider else { return };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || provider.shutdown()).await {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}
