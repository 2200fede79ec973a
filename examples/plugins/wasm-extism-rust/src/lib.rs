//! A store of values behind HTTP, as an Extism plugin in Rust.
//!
//!     cargo build --release --target wasm32-unknown-unknown
//!
//! The host makes a fresh instance for every batch, gives it the connection's settings by `plugin_configure`, asks
//! `resolve` once, and closes it: what stands in `SETTINGS` is there for one batch.
use extism_pdk::*;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

#[derive(Deserialize)]
struct Settings {
    base_url: String,
    #[serde(default)]
    api_key: String,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

#[plugin_fn]
pub fn plugin_configure(Json(given): Json<Settings>) -> FnResult<()> {
    if !given.base_url.starts_with("http") {
        return Err(Error::msg("base_url is no URL").into());
    }
    SETTINGS.set(given).map_err(|_| Error::msg("configured twice"))?;
    Ok(())
}

#[derive(Deserialize)]
struct Batch {
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    path: String,
}

#[derive(Serialize)]
struct Answers {
    answers: Vec<Answer>,
}

#[derive(Serialize, Default)]
struct Answer {
    reference: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

#[derive(Serialize)]
struct Refusal {
    kind: &'static str,
    message: String,
}

#[plugin_fn]
pub fn resolve(Json(batch): Json<Batch>) -> FnResult<Json<Answers>> {
    let settings = SETTINGS.get().ok_or_else(|| Error::msg("invalid: not configured"))?;
    let mut answers = Vec::new();
    for (reference, asked) in batch.references.iter().enumerate() {
        let mut answer = Answer { reference, ..Default::default() };
        match fetch(settings, &asked.path)? {
            Ok(value) => answer.value = Some(value),
            Err(refusal) => answer.error = Some(refusal),
        }
        answers.push(answer);
    }
    Ok(Json(Answers { answers }))
}

fn fetch(settings: &Settings, path: &str) -> Result<Result<String, Refusal>, Error> {
    let url = format!("{}/{}", settings.base_url.trim_end_matches('/'), path.trim_start_matches('/'));
    let request = HttpRequest::new(url).with_header("X-Api-Key", &settings.api_key);
    let response = http::request::<Vec<u8>>(&request, None)?;
    let refusal = |kind, message: &str| Err(Refusal { kind, message: message.to_string() });
    Ok(match response.status_code() {
        200 => match String::from_utf8(response.body()) {
            Ok(value) => Ok(value),
            Err(_) => refusal("unavailable", "the value is no text"),
        },
        401 => refusal("credentials", "the store does not know the api_key"),
        403 => refusal("denied", "the api_key may not read this"),
        404 => refusal("not_found", "the store has no such value"),
        429 => refusal("throttled", "the store is asked too often"),
        status => refusal("unavailable", &format!("the store answers HTTP {status}")),
    })
}
