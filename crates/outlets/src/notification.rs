//! Notifications: a document told to people by a signed call, in the shape that their receiver takes.
//!
//! | template          | body                                                                             |
//! | ----------------- | -------------------------------------------------------------------------------- |
//! | `json`            | the whole document                                                               |
//! | `slack`           | `{"text": …}` with the document's `text`, in which nothing mentions or links     |
//! | anything else     | a Jinja template over the document; JSON, unless the content type says otherwise |

use std::time::Duration;

use calls::{Hook, Secret, Template, http, slack};
use model::Failure;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

/// Where notifications go, and how.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// The address, which may be a secret itself, as those of team chats are.
    pub url: Secret,
    /// The signing secret, base64, with or without `whsec_`. Without one calls are not signed.
    pub secret: Secret,
    /// `json`, `slack`, or a template.
    pub template: String,
    /// The body's type.
    pub content_type: String,
    /// How long a call may take.
    pub timeout: Duration,
}

#[derive(Debug)]
enum Shape {
    Document,
    Slack,
    Own { template: Box<Template>, json: bool },
}

/// A receiver of notifications.
#[derive(Debug)]
pub struct Target {
    hook: Hook,
    shape: Shape,
    content_type: String,
    timeout: Duration,
}

impl Target {
    /// Calls nothing yet.
    ///
    /// # Errors
    /// Permanent: the address, the secret or the template is none.
    pub fn new(config: &TargetConfig) -> Result<Self, Failure> {
        let url = config.url.text().ok_or_else(|| Failure::permanent("url: it is missing"))?;
        let json = config.content_type.contains("json");
        let shape = match config.template.as_str() {
            "json" => Shape::Document,
            "slack" => Shape::Slack,
            own if json => Shape::Own { template: Box::new(Template::json(own)?), json },
            own => Shape::Own { template: Box::new(Template::parse(own)?), json },
        };
        Ok(Self {
            hook: Hook::new(url, &config.secret)?,
            shape,
            content_type: config.content_type.clone(),
            timeout: config.timeout,
        })
    }

    /// What is sent for a document.
    ///
    /// # Errors
    /// Permanent: the template names what the document does not have, or what it makes is no JSON.
    pub fn body(&self, document: &Value) -> Result<String, Failure> {
        let (template, json) = match &self.shape {
            Shape::Document => return Ok(document.to_string()),
            Shape::Slack => {
                let text = document["text"].as_str().unwrap_or_default();
                return Ok(json!({ "text": slack::escaped(text) }).to_string());
            }
            Shape::Own { template, json } => (template, *json),
        };
        let body = template
            .rendered(document)
            .map_err(|e| Failure::permanent(format!("the template does not fit the notification: {e:#}")))?;
        if json && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&body) {
            return Err(Failure::permanent(format!("the template makes no JSON: {error}")));
        }
        Ok(body)
    }

    /// Makes the call; `id` is the `webhook-id`, the same for every try.
    ///
    /// # Errors
    /// Whatever is no 2xx within the timeout.
    pub async fn notify(&self, id: &str, document: &Value) -> Result<(), Failure> {
        let request = self
            .hook
            .post(id, self.body(document)?)?
            .header(CONTENT_TYPE, &self.content_type)
            .timeout(self.timeout);
        http::asked(request.send().await).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"}], \\ \u{1} <!channel> {{ 7 * 7 }} </script>";

    fn target(template: &str, content_type: &str) -> Result<Target, Failure> {
        rustls::crypto::ring::default_provider().install_default().ok();
        Target::new(&TargetConfig {
            url: Secret::from("http://127.0.0.1:1/hooks/secret"),
            secret: Secret::default(),
            template: template.to_owned(),
            content_type: content_type.to_owned(),
            timeout: Duration::from_secs(1),
        })
    }

    fn body(template: &str) -> Value {
        let document =
            json!({ "text": HOSTILE, "data": { "title": HOSTILE, "none": null, "tags": ["a\"b"] } });
        let body = target(template, "application/json").unwrap().body(&document).unwrap();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    #[test]
    fn a_hostile_title_breaks_no_template() {
        assert_eq!(body("json")["data"]["title"], HOSTILE);
        assert!(!body("slack")["text"].as_str().unwrap().contains("<!channel>"));
        assert_eq!(body(r#"{"a": "so: {{ data.title }}"}"#)["a"], format!("so: {HOSTILE}"));
        assert_eq!(body(r#"{"a": {{ data.title | tojson }}}"#)["a"], HOSTILE);
        assert_eq!(
            body(r#"{"a": {{ data.none | tojson }}, "b": {{ data.tags | tojson }}}"#)["b"],
            json!(["a\"b"])
        );
        let told = body(r#"{"a": "{{ data.title | slack }}"}"#)["a"].as_str().unwrap().to_owned();
        assert!(told.contains("&lt;!channel&gt;"), "{told}");
    }

    #[test]
    fn a_template_that_fits_no_document_or_makes_no_json_is_refused_and_text_is_left_as_it_is() {
        let document = json!({ "text": "a \"word\"" });
        let failure = target("{{ data.titel }}", "application/json").unwrap().body(&document).unwrap_err();
        assert!(failure.reason.contains("does not fit"), "{failure:?}");
        let failure = target("{{ text }}", "application/json").unwrap().body(&document).unwrap_err();
        assert!(failure.reason.contains("makes no JSON"), "{failure:?}");
        assert_eq!(target("{{ text }}", "text/plain").unwrap().body(&document).unwrap(), "a \"word\"");
        assert!(target("{{ text ", "text/plain").is_err());
    }
}
