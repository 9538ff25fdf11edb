//! The outlet `email`: SMTP. The Message-ID is derived from the publication key, so that mail servers and readers that
//! drop repeats can.
//!
//! | the server                                     | result                                     |
//! | ---------------------------------------------- | ------------------------------------------ |
//! | cannot be reached, or its TLS is wrong         | not sent: unavailable                      |
//! | refuses for now (4xx)                          | not sent: transient                        |
//! | refuses for good (5xx)                         | rejected                                   |
//! | falls silent or breaks off in mid-conversation | unsettled; it cannot be asked              |

use calls::{Secret, Template};
use futures::FutureExt;
use futures::future::BoxFuture;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use model::{EffectResult, Failure, Known, Withdrawal};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::template::render;
use crate::{Outlet, Post, irrevocable};

/// Through which server, from whom, to whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// The SMTP server.
    pub host: String,
    /// Its port; without one 465 for `tls`, 587 for `starttls`, 25 for `none`.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub security: Security,
    /// The user, where the server wants one.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Secret,
    /// The sender, such as `Tidemill <news@example.org>`.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// A template of the subject.
    #[serde(default = "title")]
    pub subject: String,
}

fn title() -> String {
    "{{ title }}".to_owned()
}

/// How an SMTP connection is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// TLS from the first byte.
    #[default]
    Tls,
    /// TLS after STARTTLS, which the server must offer.
    Starttls,
    /// None; for a server on this machine.
    None,
}

/// The outlet `email`.
#[derive(Debug)]
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    subject: Template,
    host: String,
}

impl Email {
    /// Connects nowhere yet.
    ///
    /// # Errors
    /// Permanent: an address or the template is none, a password would go in the clear to another machine.
    pub fn new(config: &EmailConfig) -> Result<Self, Failure> {
        let mailbox = |text: &String| {
            text.parse::<Mailbox>().map_err(|e| Failure::permanent(format!("`{text}` is no address: {e}")))
        };
        let to = config.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(Failure::permanent("to: it names nobody"));
        }
        let here = matches!(config.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if config.security == Security::None && config.username.is_some() && !here {
            return Err(Failure::permanent("security: `none` would send the password in the clear"));
        }
        let tls = || {
            TlsParameters::new(config.host.clone())
                .map_err(|e| Failure::permanent(format!("TLS cannot be prepared: {e}")))
        };
        let (port, tls) = match config.security {
            Security::Tls => (465, Tls::Wrapper(tls()?)),
            Security::Starttls => (587, Tls::Required(tls()?)),
            Security::None => (25, Tls::None),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port.unwrap_or(port))
            .tls(tls)
            // The effect's own timeout ends it.
            .timeout(None);
        if let Some(username) = &config.username {
            let password = config.password.text().unwrap_or_default().to_owned();
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
            from: mailbox(&config.from)?,
            to,
            subject: Template::parse(&config.subject)?,
            host: config.host.clone(),
        })
    }

    fn message_id(&self, key: &str) -> String {
        format!("<{key}@{}>", self.from.email.domain())
    }

    fn message(&self, post: &Post<'_>) -> Result<Message, Failure> {
        let subject = render(&self.subject, post)?;
        let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut message = Message::builder()
            .message_id(Some(self.message_id(post.key)))
            .from(self.from.clone())
            .date(post.published_at.into())
            .subject(subject);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let part = |kind, text| SinglePart::builder().header(kind).body(text);
        message
            .multipart(
                MultiPart::alternative()
                    .singlepart(part(ContentType::TEXT_PLAIN, plain(post)))
                    .singlepart(part(ContentType::TEXT_HTML, html(post))),
            )
            .map_err(|e| Failure::permanent(format!("the message cannot be written: {e}")))
    }
}

fn plain(post: &Post<'_>) -> String {
    let content = post.content;
    let mut text = content.body.lines().map(str::trim).collect::<Vec<_>>().join("\r\n\r\n");
    if let Some(url) = &content.url {
        text.push_str(&format!("\r\n\r\n{url}"));
    }
    text.push_str("\r\n");
    text
}

fn html(post: &Post<'_>) -> String {
    let content = post.content;
    let mut html = format!("<h1>{}</h1>\r\n", html_escape::encode_text(&content.title));
    for line in content.body.lines() {
        html.push_str(&format!("<p>{}</p>\r\n", html_escape::encode_text(line.trim())));
    }
    if let Some(url) = content.url.as_deref() {
        let url = html_escape::encode_double_quoted_attribute(url);
        html.push_str(&format!("<p><a href=\"{url}\">Original</a></p>\r\n"));
    }
    html
}

impl Outlet for Email {
    fn deduplicates(&self) -> bool {
        false
    }

    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult> {
        async move {
            let message = match self.message(post) {
                Ok(message) => message,
                Err(failure) => return EffectResult::NotSent(failure),
            };
            // A connection of its own says whether the server is there, before anything is sent.
            if let Err(error) = self.transport.test_connection().await {
                return EffectResult::NotSent(Failure::unavailable(format!("{}: {error}", self.host)));
            }
            match self.transport.send(message).await {
                Ok(answer) => {
                    let said = answer.first_line().unwrap_or_default();
                    EffectResult::Confirmed { reference: format!("{} {said}", self.message_id(post.key)) }
                }
                Err(error) if error.is_permanent() => EffectResult::Rejected { reason: error.to_string() },
                Err(error) if error.is_transient() => {
                    EffectResult::NotSent(Failure::transient(error.to_string()))
                }
                Err(error) if error.is_tls() || error.is_client() => {
                    EffectResult::NotSent(Failure::unavailable(error.to_string()))
                }
                Err(error) => EffectResult::Unknown { reason: format!("{}: {error}", self.host) },
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Known, Failure>> {
        async { Ok(Known::CannotTell) }.boxed()
    }

    fn revoke<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Withdrawal, Failure>> {
        irrevocable("a message that was sent cannot be called back: write to its readers")
    }

    fn preview(&self, post: &Post<'_>) -> serde_json::Value {
        match self.message(post) {
            Ok(message) => json!({ "message": String::from_utf8_lossy(&message.formatted()) }),
            Err(failure) => json!({ "error": failure.reason }),
        }
    }
}
