//! Commands that work on the record and the streams themselves.

use fleet::config::Overrides;
use fleet::{Fault, Settings};
use record::Record;
use streams::Streams;

use crate::args::Database;
use crate::client::LocalFleet;

impl Database {
    fn local(&self) -> Option<LocalFleet> {
        LocalFleet::read(&self.folder)
    }

    fn missing(&self, what: &str) -> Fault {
        Fault::unavailable(format!(
            "no {what} is known: start a local fleet with `tidemill up` (looked in {}), or pass --{what}-url",
            self.folder.display()
        ))
    }

    pub(crate) fn settings(&self) -> Result<Settings, Fault> {
        Settings::load(&Overrides {
            redis_url: self.redis_url.clone(),
            database_url: self.database_url.clone(),
            ..Overrides::default()
        })
    }

    /// The record: of the flag, else of the configuration, else of the local fleet.
    pub(crate) async fn record(&self) -> Result<Record, Fault> {
        let configured = self.settings()?.database()?;
        let endpoint = if configured.is_set() {
            configured.endpoint()?
        } else {
            self.local().map(|fleet| fleet.database()).ok_or_else(|| self.missing("database"))?
        };
        Ok(Record::connect(endpoint, 2).await?)
    }

    /// The streams, found in the same way, by their configured names.
    pub(crate) async fn streams(&self) -> Result<Streams, Fault> {
        let settings = self.settings()?;
        let configured = settings.redis()?;
        let endpoint = if configured.is_set() {
            configured.endpoint()?
        } else {
            self.local().map(|fleet| fleet.redis()).ok_or_else(|| self.missing("redis"))?
        };
        Ok(Streams::connect(endpoint, settings.shared.streams).await?)
    }
}

pub(crate) async fn migrate(database: Database) -> Result<(), Fault> {
    database.record().await?.migrate().await?;
    println!("The record's schema is version {}.", record::SCHEMA_VERSION);
    Ok(())
}

pub(crate) fn id(text: &str, what: &str) -> Result<uuid::Uuid, Fault> {
    uuid::Uuid::parse_str(text.trim())
        .map_err(|_| Fault::usage(format!("`{text}` is no {what} id: `list` shows them")))
}

/// A moment as people write it: RFC 3339, or how long ago.
pub(crate) fn moment(text: &str) -> Result<chrono::DateTime<chrono::Utc>, Fault> {
    if let Ok(at) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    humantime::parse_duration(text).map(|ago| chrono::Utc::now() - ago).map_err(|e| {
        Fault::usage(format!("`{text}` is no time ({e}); write RFC 3339, or how long ago, such as 2h"))
    })
}

/// Who works here, for the record.
pub(crate) fn whoami() -> String {
    nix::unistd::User::from_uid(nix::unistd::Uid::current())
        .ok()
        .flatten()
        .map(|user| user.name)
        .unwrap_or_default()
}
