//! The outlet `email`, against a mail server that answers in every way.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod common;

use std::sync::{Arc, Mutex};

use common::{KEY, content, post};
use model::{EffectResult, Known, RetryClass};
use serde_json::json;
use tidemill_outlets::{Email, EmailConfig, Outlet};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How the server answers the end of a message; `None` cuts the connection.
type Last = Option<&'static str>;

async fn server(last: Last) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let message = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&message);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, last, Arc::clone(&kept)));
        }
    });
    (port, message)
}

async fn converse(mut stream: TcpStream, last: Last, kept: Arc<Mutex<String>>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 stand-in\r\n").await?;
    let mut in_data = false;
    while let Some(line) = lines.next_line().await? {
        if in_data {
            if line == "." {
                in_data = false;
                let Some(last) = last else { return Ok(()) };
                write.write_all(format!("{last}\r\n").as_bytes()).await?;
            } else {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
            }
            continue;
        }
        let answer = match line.split(' ').next().unwrap_or_default() {
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "RCPT" if line.contains("nobody") => "550 no such user",
            "RCPT" if line.contains("later") => "450 busy",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn email(port: u16, to: &str) -> Email {
    let config = json!({
        "host": "127.0.0.1", "port": port, "security": "none",
        "from": "Tidemill <news@example.org>", "to": [to], "subject": "New: {{ title }}",
    });
    Email::new(&serde_json::from_value::<EmailConfig>(config).unwrap()).unwrap()
}

#[tokio::test]
async fn a_message_has_an_id_made_of_the_key_and_escapes_its_content() {
    let (port, message) = server(Some("250 queued as 17")).await;
    let EffectResult::Confirmed { reference } = email(port, "a@example.org").deliver(&post(&content())).await
    else {
        panic!("it is taken")
    };
    assert!(reference.contains("queued as 17") && reference.contains(KEY), "{reference}");
    let text = message.lock().unwrap().clone();
    assert!(text.contains(&format!("Message-ID: <{KEY}@example.org>")), "{text}");
    assert!(text.contains("Subject: New: A \"title\" & <more>"), "{text}");
    assert!(text.contains("<h1>A \"title\" &amp; &lt;more&gt;</h1>"), "{text}");
    assert!(text.contains("First.") && text.contains("Second.") && text.contains("https://example.org/a"));
}

#[tokio::test]
async fn refusals_are_told_from_what_may_have_gone_out() {
    let (port, _) = server(Some("554 it looks like an advertisement")).await;
    let refused = email(port, "a@example.org").deliver(&post(&content())).await;
    assert!(
        matches!(&refused, EffectResult::Rejected { reason } if reason.contains("advertisement")),
        "{refused:?}"
    );
    let refused = email(port, "nobody@example.org").deliver(&post(&content())).await;
    assert!(matches!(refused, EffectResult::Rejected { .. }), "{refused:?}");
    let EffectResult::NotSent(failure) = email(port, "later@example.org").deliver(&post(&content())).await
    else {
        panic!("it was not taken")
    };
    assert_eq!(failure.class, RetryClass::Transient);
    let (cutting, _) = server(None).await;
    let cut = email(cutting, "a@example.org").deliver(&post(&content())).await;
    assert!(matches!(cut, EffectResult::Unknown { .. }), "{cut:?}");
    let EffectResult::NotSent(failure) = email(1, "a@example.org").deliver(&post(&content())).await else {
        panic!("nobody listens")
    };
    assert_eq!(failure.class, RetryClass::Unavailable);
    assert_eq!(email(1, "a@example.org").ask(KEY).await, Ok(Known::CannotTell));
}

#[tokio::test]
async fn a_password_never_goes_in_the_clear_to_another_machine() {
    let config = json!({
        "host": "mail.example.org", "security": "none", "username": "u", "password": "p",
        "from": "a@example.org", "to": ["b@example.org"],
    });
    let refused = Email::new(&serde_json::from_value::<EmailConfig>(config).unwrap()).unwrap_err();
    assert!(refused.reason.contains("in the clear"), "{refused:?}");
}
