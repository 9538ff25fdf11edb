//! Commands that work on the record and the streams themselves.

use fleet::Fault;
use record::Record;
use streams::{StreamNames, Streams};

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

    /// The record.
    pub(crate) async fn record(&self) -> Result<Record, Fault> {
        let url = self.database_url.clone().or_else(|| self.local().map(|fleet| fleet.database_url));
        Ok(Record::connect(&url.ok_or_else(|| self.missing("database"))?, 2).await?)
    }

    /// The streams.
    pub(crate) async fn streams(&self) -> Result<Streams, Fault> {
        let url = self.redis_url.clone().or_else(|| self.local().map(|fleet| fleet.redis_url));
        Ok(Streams::connect(&url.ok_or_else(|| self.missing("redis"))?, StreamNames::default()).await?)
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
