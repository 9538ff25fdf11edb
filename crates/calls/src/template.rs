//! Templates over JSON documents, by minijinja. `{{ title | tojson }}` writes a value as JSON, `{{ title | slack }}` as text that
//! mentions nobody. A name that does not exist is an error.

use minijinja::{Environment, UndefinedBehavior};
use model::Failure;
use serde_json::Value;

use crate::slack;

/// A template that was parsed once.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
}

const ONE: &str = "template";

impl Template {
    /// A template of text.
    ///
    /// # Errors
    /// Permanent: it cannot be parsed.
    pub fn parse(source: &str) -> Result<Self, Failure> {
        Self::of(Environment::new(), source)
    }

    /// A template of JSON: whatever it writes is escaped for the inside of a JSON string, but for what `tojson` made.
    ///
    /// # Errors
    /// Permanent: it cannot be parsed.
    pub fn json(source: &str) -> Result<Self, Failure> {
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

    /// The template filled in.
    ///
    /// # Errors
    /// It names what the document does not have.
    pub fn rendered(&self, document: &Value) -> Result<String, minijinja::Error> {
        self.environment.get_template(ONE)?.render(document)
    }
}
