//! What templates of outlets are given: a post's fields.
//!
//! | name                                           | what it is                                       |
//! | ---------------------------------------------- | ------------------------------------------------ |
//! | `key`                                          | the publication key, 64 hexadecimal characters   |
//! | `title`, `summary`, `body`, `url`, `language`  | the content; `url` may be none                   |
//! | `tags`                                         | a list                                           |
//! | `content_sha256`, `run_id`, `source`           | where it came from                               |
//! | `published_at`                                 | RFC 3339                                         |

use calls::Template;
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

/// A template filled in with a post's fields.
///
/// # Errors
/// Permanent: it names what a post does not have.
pub(crate) fn render(template: &Template, post: &Post<'_>) -> Result<String, Failure> {
    template
        .rendered(&fields(post))
        .map_err(|e| Failure::permanent(format!("the template does not fit the post: {e:#}")))
}
