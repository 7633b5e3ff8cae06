//! A real Prometheus, by its HTTP API.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;

/// A Prometheus.
pub struct Prometheus {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A series with its values, oldest first.
#[derive(Clone, Debug, Deserialize)]
pub struct Series {
    /// Its labels.
    pub metric: serde_json::Map<String, Value>,
    values: Vec<(f64, String)>,
}

impl Series {
    /// Returns its values.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        // Prometheus writes NaN and +Inf as Rust reads them.
        self.values.iter().filter_map(|(_, value)| value.parse().ok())
    }
}

/// A rule, as it was evaluated last.
#[derive(Clone, Debug, Deserialize)]
pub struct Evaluated {
    /// The series that it records, or the alert.
    pub name: String,
    /// `ok`, or something else.
    pub health: String,
    /// Why it is not.
    #[serde(default, rename = "lastError")]
    pub error: String,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    data: Value,
}

impl Prometheus {
    /// Makes a client of the one at a URL.
    #[must_use]
    pub fn at(url: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url: url.trim_end_matches('/').to_owned(), client }
    }

    /// Returns what a query gave over the last seconds.
    ///
    /// # Errors
    /// If Prometheus refuses it or does not answer.
    pub async fn range(&self, query: &str, now: f64, seconds: f64, step: f64) -> Result<Vec<Series>> {
        let (start, end) = ((now - seconds).to_string(), now.to_string());
        let step = step.to_string();
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        let data = self.get("query_range", &parameters).await.with_context(|| query.to_owned())?;
        Ok(serde_json::from_value(data["result"].clone())?)
    }

    /// Returns the value of a query that has one, at Prometheus' own time.
    ///
    /// # Errors
    /// If Prometheus refuses it, does not answer, or has no value.
    pub async fn number(&self, query: &str) -> Result<Option<f64>> {
        let data = self.get("query", &[("query", query)]).await.with_context(|| query.to_owned())?;
        // A scalar is [time, "value"]; a vector is a list of those with labels.
        let value = match data["resultType"].as_str() {
            Some("scalar") => data["result"][1].as_str(),
            _ => data["result"][0]["value"][1].as_str(),
        };
        Ok(value.map(str::parse).transpose()?)
    }

    /// Returns the values of a label in the series of a selector.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub async fn label_values(&self, label: &str, selector: &str) -> Result<Vec<String>> {
        let data = self.get(&format!("label/{label}/values"), &[("match[]", selector)]).await?;
        Ok(serde_json::from_value(data)?)
    }

    /// Returns all rules.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub async fn rules(&self) -> Result<Vec<Evaluated>> {
        let data = self.get("rules", &[]).await?;
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.into_iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        Ok(rules.map(serde_json::from_value).collect::<Result<_, _>>()?)
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let query = Serializer::new(String::new()).extend_pairs(parameters).finish();
        let uri: Uri = format!("{}/api/v1/{path}?{query}", self.url).parse()?;
        let answer = self.client.request(Request::get(uri).body(Full::default())?).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        let answer: Answer = serde_json::from_slice(&body).context("Prometheus does not answer in JSON")?;
        if answer.status != "success" {
            bail!("{}", answer.error);
        }
        Ok(answer.data)
    }
}
