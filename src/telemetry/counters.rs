//! The agent's own metrics, all named `pgvigil_…`, and the way from the `prometheus` crate to families.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{
    Gauge, GaugeVec, Histogram as Timer, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
};

use crate::metric::{Family, Histogram, Kind, Labels, Point, Sample};

/// The registry of the agent's own metrics. Rooms ask it for counters once, when they are built.
#[derive(Clone)]
pub struct Telemetry {
    registry: Registry,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    pub fn new() -> Self {
        Self { registry: Registry::new() }
    }

    /// Registers a counter. The name must end in `_total` and be asked for once.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram over `buckets` (upper bounds, in the unit that the name says).
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Timer {
        self.register(Timer::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        // Names are constants in this program: one that does not register is a bug that the first
        // start of any test shows.
        let metric = made.expect("a metric of the agent's own has a valid name");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("a metric of the agent's own is registered once");
        metric
    }

    /// Everything, as families.
    pub fn families(&self) -> Vec<Arc<Family>> {
        self.registry.gather().iter().map(|family| Arc::new(convert(family))).collect()
    }
}

fn convert(family: &prometheus::proto::MetricFamily) -> Family {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::GAUGE => Kind::Gauge,
        _ => Kind::Untyped,
    };
    let mut out = Family::new(family.name(), family.help(), kind);
    for metric in family.get_metric() {
        let labels = Labels::new(metric.get_label().iter().map(|l| (l.name(), l.value())));
        let point = match kind {
            Kind::Counter => Point::Number(metric.get_counter().get_value()),
            Kind::Histogram => {
                let histogram = metric.get_histogram();
                Point::Histogram(Box::new(Histogram {
                    buckets: histogram
                        .get_bucket()
                        .iter()
                        .map(|b| (b.upper_bound(), b.cumulative_count()))
                        .collect(),
                    sum: histogram.get_sample_sum(),
                    count: histogram.get_sample_count(),
                }))
            }
            Kind::Gauge | Kind::Untyped => Point::Number(metric.get_gauge().get_value()),
        };
        out.samples.push(Sample { labels, point });
    }
    out
}
