//! Templates of what outlets send: minijinja over a post's fields.
//!
//! | name                                           | what it is                                       |
//! | ---------------------------------------------- | ------------------------------------------------ |
//! | `key`                                          | the publication key, 64 hexadecimal characters   |
//! | `title`, `summary`, `body`, `url`, `language`  | the content; `url` may be none                   |
//! | `tags`                                         | a list                                           |
//! | `content_sha256`, `run_id`, `source`           | where it came from                               |
//! | `published_at`                                 | RFC 3339                                         |
//!
//! `{{ title | tojson }}` writes a value as JSON, `{{ title | slack }}` as text that mentions nobody. A name that does not exist is an error.

use minijinja::{Environment, UndefinedBehavior};
use model::Failure;
use serde_json::{Value, json};

use crate::{Post, slack};

/// The fields of a post, as templates and webhooks name them.
pub(crate) fn fields(post: &Post<'_>) -> Value {
    json!({
        "key": post.key,
        "run_id": post.run,
        "source": post.source,
        "title": post.content.title,
        "summary": post.content.summary,
        "body": post.content.body,
        "url": post.content.url,
        "language": post.content.language,
        "tags": post.content.tags,
        "content_sha256": post.sha256,
        "published_at": post.published_at,
    })
}

/// A template that was parsed once.
#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
}

const ONE: &str = "template";

impl Template {
    /// # Errors
    /// Permanent: it cannot be parsed.
    pub(crate) fn parse(source: &str) -> Result<Self, Failure> {
        Self::of(Environment::new(), source)
    }

    /// A template of JSON: whatever it writes is escaped for the inside of a JSON string, but for what `tojson` made.
    ///
    /// # Errors
    /// Permanent: it cannot be parsed.
    pub(crate) fn json(source: &str) -> Result<Self, Failure> {
        let mut environment = Environment::new();
        environment.set_formatter(|out, state, value| match value.as_str() {
            Some(text) if !value.is_safe() => {
                let quoted = serde_json::Value::from(text).to_string();
                out.write_str(&quoted[1..quoted.len() - 1]).map_err(minijinja::Error::from)
            }
            _ => minijinja::escape_formatter(out, state, value),
        });
        Self::of(environment, source)
    }

    fn of(mut environment: Environment<'static>, source: &str) -> Result<Self, Failure> {
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("slack", |text: String| slack::escaped(&text));
        environment
            .add_template_owned(ONE, source.to_owned())
            .map_err(|e| Failure::permanent(format!("the template cannot be read: {e:#}")))?;
        Ok(Self { environment })
    }

    /// # Errors
    /// Permanent: it names what a post does not have.
    pub(crate) fn render(&self, post: &Post<'_>) -> Result<String, Failure> {
        self.rendered(&fields(post))
            .map_err(|e| Failure::permanent(format!("the template does not fit the post: {e:#}")))
    }

    /// # Errors
    /// It names what the document does not have.
    pub(crate) fn rendered(&self, document: &Value) -> Result<String, minijinja::Error> {
        self.environment.get_template(ONE)?.render(document)
    }
}
