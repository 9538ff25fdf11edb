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
//! `{{ title | tojson }}` writes a value as JSON. A name that does not exist is an error.

use minijinja::{Environment, UndefinedBehavior};
use model::Failure;
use serde_json::{Value, json};

use crate::Post;

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
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
            .add_template_owned(ONE, source.to_owned())
            .map_err(|e| Failure::permanent(format!("the template cannot be read: {e:#}")))?;
        Ok(Self { environment })
    }

    /// # Errors
    /// Permanent: it names what a post does not have.
    pub(crate) fn render(&self, post: &Post<'_>) -> Result<String, Failure> {
        self.environment
            .get_template(ONE)
            .and_then(|template| template.render(fields(post)))
            .map_err(|e| Failure::permanent(format!("the template does not fit the post: {e:#}")))
    }
}
