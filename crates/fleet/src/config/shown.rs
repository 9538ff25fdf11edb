//! What is shown of a configuration: everything but its secrets.

use serde_json::Value;

use super::secrets::{HIDDEN, is_secret_address, may_be_secret};
use super::tree::join;

/// Parameters of URLs that tell where something is, and no secret.
const PLAIN: [&str; 11] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "sslcert",
    "host",
    "port",
    "user",
    "dbname",
    "db",
    "protocol",
    "application_name",
];

/// The value at a path as JSON, secrets hidden.
pub(super) fn shown(path: &str, value: &Value) -> String {
    hidden(path, value).to_string()
}

fn hidden(path: &str, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(hidden_text(path, text)),
        Value::Array(items) => {
            // Arguments of a program may hold anything.
            let command = path.ends_with(".command");
            let item = |(index, item): (usize, &Value)| match command && index > 0 {
                true => Value::from(HIDDEN),
                false => hidden(&join(path, &index.to_string()), item),
            };
            Value::Array(items.iter().enumerate().map(item).collect())
        }
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, value)| (key.clone(), hidden(&join(path, key), value))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn hidden_text(path: &str, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    if path.ends_with("url") {
        return hidden_url(path, text);
    }
    match may_be_secret(path) {
        true => HIDDEN.to_owned(),
        false if text.contains("://") => hidden_url(path, text),
        false => text.to_owned(),
    }
}

/// A URL without its password, and without what its parameters, or an address that is a secret itself, may hide.
fn hidden_url(path: &str, url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.starts_with("file:") { url.to_owned() } else { HIDDEN.to_owned() };
    };
    let (main, query) = rest.split_once('?').map_or((rest, None), |(main, query)| (main, Some(query)));
    let (user, place) = main.rsplit_once('@').map_or((None, main), |(user, place)| (Some(user), place));
    let mut shown = format!("{scheme}://");
    if let Some(user) = user {
        match user.split_once(':') {
            Some((name, _)) => shown.push_str(&format!("{name}:{HIDDEN}@")),
            // Where a token is the user's name.
            None if scheme.starts_with("http") => shown.push_str(&format!("{HIDDEN}@")),
            None => shown.push_str(&format!("{user}@")),
        }
    }
    match place.split_once('/') {
        Some((host, rest)) if is_secret_address(path) && !rest.is_empty() => {
            shown.push_str(&format!("{host}/{HIDDEN}"));
        }
        _ => shown.push_str(place),
    }
    if let Some(query) = query {
        let parameters: Vec<String> = query.split('&').map(hidden_parameter).collect();
        shown.push_str(&format!("?{}", parameters.join("&")));
    }
    shown
}

fn hidden_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if PLAIN.contains(&name) => parameter.to_owned(),
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_password_of_a_url_is_shown_wherever_it_stands() {
        for (path, url, expected) in [
            (
                "database.url",
                "postgres://me:hush@h/db?sslmode=require",
                "postgres://me:***@h/db?sslmode=require",
            ),
            ("database.url", "postgres://h/db?user=me&password=hush", "postgres://h/db?user=me&password=***"),
            ("redis.url", "redis://:hu@sh@h:6379/1", "redis://:***@h:6379/1"),
            ("redis.url", "redis+unix:///run/redis.sock?pass=hush", "redis+unix:///run/redis.sock?pass=***"),
            ("redis.url", "hush", "***"),
            ("planner.sources.0.url", "https://hush@h/feed?key=hush", "https://***@h/feed?key=***"),
            ("planner.sources.0.url", "file:/feed.xml", "file:/feed.xml"),
            ("publisher.outlets.x.webhook.url", "https://h/services/hush", "https://h/***"),
            ("publisher.outlets.x.mcp.url", "https://h/s/hush/mcp", "https://h/***"),
            ("agent.providers.x.http.url", "https://h/hooks/hush", "https://h/***"),
            ("agent.providers.x.openai.base_url", "https://h/v1", "https://h/v1"),
            ("notifications.targets.12.url", "https://h/services/hush?k=hush", "https://h/***?k=***"),
            ("publisher.outlets.webhook.wordpress.url", "https://h/blog", "https://h/blog"),
            ("embedding.openai.base_url", "https://h/v1", "https://h/v1"),
        ] {
            assert_eq!(shown(path, &json!(url)), json!(expected).to_string());
        }
    }

    #[test]
    fn headers_environments_and_arguments_are_hidden_and_plain_values_are_not() {
        let outlet = json!({
            "webhook": { "headers": { "authorization": "Bearer hush" }, "secret": "hush" },
            "mcp": { "command": ["program", "--token", "hush"], "environment": { "KEY": "hush" }, "tool": "post" },
            "per_minute": 3,
        });
        let said = shown("publisher.outlets.x", &outlet);
        assert!(!said.contains("hush") && said.contains("program") && said.contains("post"), "{said}");
        assert_eq!(
            shown("planner.sources", &json!([{ "url": "http://u:hush@h/" }])).matches("hush").count(),
            0
        );
    }
}
